package fsm

import (
	"container/list"
	"fmt"

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

// sessions is what is known of the producers: the newest number of each, and
// receipts of its newest events, bounded per producer and in all.
type sessions struct {
	limits chain.Settings
	byName map[string]*list.Element
	order  *list.List // of *session, least recently used first
	kept   int        // receipts in all
	queue  []queued   // receipts by commit order, the oldest first; some are gone already
}

// queued names a receipt in the order of commits.
type queued struct {
	s   *session
	seq uint64
}

func (q queued) gone() bool { return len(q.s.receipts) == 0 || q.s.receipts[0].seq > q.seq }

type session struct {
	producer string
	last     uint64
	used     int64     // time of the newest event
	receipts []receipt // of numbers last-len+1 … last
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
	if sequence > x.last || x.last-sequence >= uint64(len(x.receipts)) {
		return Receipt{}, false
	}
	r := &x.receipts[uint64(len(x.receipts))-1-(x.last-sequence)]
	return Receipt{producer, sequence, r.seq, r.term, r.hash, r.firstOutput, r.outputs, r.flags, r.reason}, true
}

// check says whether every numbered step is its producer's next. A producer
// that is not known is the active's decision: it admits only number 1, or one
// that it knew when it admitted it and that was forgotten meanwhile.
func (s *sessions) check(steps []Step) error {
	ahead := make(map[string]uint64)
	for i := range steps {
		st := &steps[i]
		if st.Producer == "" {
			continue
		}
		last, known := ahead[st.Producer]
		if !known {
			last, known = s.last(st.Producer)
		}
		if known && st.Sequence != last+1 {
			return fmt.Errorf("event %d of producer %q after its event %d", st.Sequence, st.Producer, last)
		}
		ahead[st.Producer] = st.Sequence
	}
	return nil
}

// note takes a step over; hash is its link's.
func (s *sessions) note(st *Step, l *chain.Link, hash chain.Hash, firstOutput uint64) {
	if st.Producer == "" {
		return
	}
	e, ok := s.byName[st.Producer]
	if !ok {
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
	if len(x.receipts) >= int(s.limits.ReceiptsPerProducer) {
		s.dropReceipt(x)
	}
	x.receipts = append(x.receipts, receipt{l.Seq, l.Term, firstOutput, uint64(len(st.Outputs)), hash, st.Flags, st.Reason})
	s.kept++
	s.enqueue(queued{x, l.Seq})
	for s.kept > int(s.limits.MaxReceipts) {
		s.dropOldest()
	}
}

func (s *sessions) enqueue(q queued) {
	if len(s.queue) >= 2*int(s.limits.MaxReceipts) {
		live := s.queue[:0]
		for _, q := range s.queue {
			if !q.gone() {
				live = append(live, q)
			}
		}
		s.queue = live
	}
	s.queue = append(s.queue, q)
}

func (s *sessions) dropReceipt(x *session) {
	x.receipts = x.receipts[1:]
	s.kept--
}

// dropOldest drops the oldest receipt of all, by commit order.
func (s *sessions) dropOldest() {
	for {
		q := s.queue[0]
		s.queue = s.queue[1:]
		if !q.gone() {
			s.dropReceipt(q.s)
			return
		}
	}
}

func (s *sessions) forget(e *list.Element) {
	x := e.Value.(*session)
	s.kept -= len(x.receipts)
	x.receipts = nil
	s.order.Remove(e)
	delete(s.byName, x.producer)
}

// expire forgets the producers that were silent for longer than the limit.
// Called at seals, with committed time.
func (s *sessions) expire(now int64) {
	for e := s.order.Front(); e != nil && e.Value.(*session).used < now-int64(s.limits.ProducerTTL); e = s.order.Front() {
		s.forget(e)
	}
}
