package fsm

import (
	"container/list"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// Receipt says where an event was recorded.
type Receipt struct {
	Producer    string
	Sequence    uint64
	Seq, Term   uint64
	Hash        chain.Hash
	FirstOutput uint64
	Outputs     uint64
	Flags       chain.Flags
	Reason      string
}

// maxWords bounds the reasons in all receipts, in bytes: with many rejected events
// in a row fewer receipts are kept, so that an image keeps its bound.
const maxWords = 32 << 20

// sessions is what is known of the producers: the newest number of each, and
// receipts of its newest events, bounded per producer and in all.
type sessions struct {
	limits chain.Settings
	byName map[string]*list.Element
	order  *list.List   // of *session, least recently used first
	kept   int          // receipts in all
	words  int          // bytes of reasons in them
	queue  ring[queued] // receipts by commit order, the oldest first; some are gone already
}

// queued names a receipt in the order of commits.
type queued struct {
	s   *session
	seq uint64
}

func (q queued) gone() bool { return q.s.receipts.len() == 0 || q.s.receipts.at(0).seq > q.seq }

type session struct {
	producer string
	last     uint64
	used     int64         // time of the newest event, later by what skip left out
	receipts ring[receipt] // of numbers last-len+1 … last
}

// receipt is compact: what the session and the number tell is left out.
type receipt struct {
	seq, term, firstOutput, outputs uint64
	hash                            chain.Hash
	flags                           chain.Flags
	reason                          string
}

func newSessions(limits chain.Settings) *sessions {
	return &sessions{limits: limits, byName: make(map[string]*list.Element), order: list.New()}
}

func (s *sessions) last(producer string) (uint64, bool) {
	if e, ok := s.byName[producer]; ok {
		return e.Value.(*session).last, true
	}
	return 0, false
}

func (s *sessions) receipt(producer string, sequence uint64) (Receipt, bool) {
	e, ok := s.byName[producer]
	if !ok {
		return Receipt{}, false
	}
	x := e.Value.(*session)
	if sequence > x.last || x.last-sequence >= uint64(x.receipts.len()) {
		return Receipt{}, false
	}
	r := x.receipts.at(x.receipts.len() - 1 - int(x.last-sequence))
	return Receipt{producer, sequence, r.seq, r.term, r.hash, r.firstOutput, r.outputs, r.flags, r.reason}, true
}

// check says whether every numbered step is its producer's next. A producer
// that is not known is the active's decision: it admits only number 1, or one
// that it knew when it admitted it and that was forgotten meanwhile.
func (s *sessions) check(steps []Step) error {
	ahead := make(map[string]uint64)
	var before *Step // a producer's events mostly come one after the other
	for i := range steps {
		st := &steps[i]
		if st.Producer == "" {
			continue
		}
		var last uint64
		known := before != nil && before.Producer == st.Producer
		if known {
			last = before.Sequence
		} else {
			if before != nil {
				ahead[before.Producer] = before.Sequence
			}
			if last, known = ahead[st.Producer]; !known {
				last, known = s.last(st.Producer)
			}
		}
		if known && st.Sequence != last+1 {
			return fmt.Errorf("event %d of producer %q after its event %d", st.Sequence, st.Producer, last)
		}
		before = st
	}
	return nil
}

// note takes a step over; hash is its link's.
func (s *sessions) note(st *Step, l *chain.Link, hash chain.Hash, firstOutput uint64) {
	if st.Producer == "" {
		return
	}
	e := s.order.Back() // mostly it is the same producer again
	if e == nil || e.Value.(*session).producer != st.Producer {
		e = s.byName[st.Producer]
	}
	if e == nil {
		if len(s.byName) >= int(s.limits.MaxProducers) {
			s.forget(s.order.Front())
		}
		e = s.order.PushBack(&session{producer: st.Producer})
		s.byName[st.Producer] = e
	}
	s.order.MoveToBack(e)
	x := e.Value.(*session)
	x.last, x.used = st.Sequence, l.Time
	if len(st.Outputs) == 0 {
		firstOutput = 0
	}
	if x.receipts.len() >= int(s.limits.ReceiptsPerProducer) {
		s.dropReceipt(x)
	}
	s.keep(x, receipt{l.Seq, l.Term, firstOutput, uint64(len(st.Outputs)), hash, st.Flags, st.Reason})
	s.enqueue(queued{x, l.Seq})
	for s.kept > int(s.limits.MaxReceipts) || s.words > maxWords {
		s.dropOldest()
	}
}

// minSilence is how long a producer was silent that is forgotten for another's sake.
const minSilence = int64(time.Hour)

// maxSilent bounds how many producers are looked at for that.
const maxSilent = 4096

func (s *sessions) crowded(now int64, others int, heard func(string) bool) bool {
	excess := len(s.byName) + others + 1 - int(s.limits.MaxProducers)
	e := s.order.Front()
	for looked := 0; excess > 0; looked++ {
		if e == nil || looked == maxSilent || e.Value.(*session).used > now-minSilence {
			return true
		}
		if !heard(e.Value.(*session).producer) { // else it comes again, in the place of the next one
			excess--
		}
		e = e.Next()
	}
	return false
}

func (s *sessions) enqueue(q queued) {
	if s.queue.len() >= 2*int(s.limits.MaxReceipts) {
		for range s.queue.len() {
			if q := s.queue.pop(); !q.gone() {
				s.queue.push(q)
			}
		}
	}
	s.queue.push(q)
}

func (s *sessions) keep(x *session, r receipt) {
	x.receipts.push(r)
	s.kept++
	s.words += len(r.reason)
}

func (s *sessions) dropReceipt(x *session) {
	s.words -= len(x.receipts.pop().reason)
	s.kept--
}

// dropOldest drops the oldest receipt of all, by commit order.
func (s *sessions) dropOldest() {
	for {
		if q := s.queue.pop(); !q.gone() {
			s.dropReceipt(q.s)
			return
		}
	}
}

func (s *sessions) forget(e *list.Element) {
	x := e.Value.(*session)
	for x.receipts.len() > 0 {
		s.dropReceipt(x)
	}
	x.receipts = ring[receipt]{}
	s.order.Remove(e)
	delete(s.byName, x.producer)
}

// skip leaves time out of every producer's silence. Between one active and the
// next it is: their clocks may differ by any amount, and a producer could not
// send.
func (s *sessions) skip(d int64) {
	for e := s.order.Front(); e != nil; e = e.Next() {
		e.Value.(*session).used += d
	}
}

// expire forgets the producers that were silent for longer than the limit.
// Called at seals, with committed time.
func (s *sessions) expire(now int64) {
	for e := s.order.Front(); e != nil && e.Value.(*session).used < now-int64(s.limits.ProducerTTL); e = s.order.Front() {
		s.forget(e)
	}
}
