package standby

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// pending is one event on its way: owned by whoever holds it, from the intake
// over the active loop to the acker, which finishes it exactly once.
type pending struct {
	ev     Event
	res    Result
	sub    *submission
	refuse string      // set: the host refuses this event with this reason instead of calling the daemon
	hash   chain.Hash  // link hash of the speculative step
	time   int64       // event time of the speculative step
	seq    uint64      // its position
	flags  chain.Flags // and outcome
	reason string
	outs   [][]byte
	dups   []*pending // later sendings of the same number, answered with the same receipt
}

func (p *pending) finish(r Result) {
	p.res = r
	if s := p.sub; s.left.Add(-1) == 0 {
		if s.queue != nil {
			s.queue.release(s)
		}
		close(s.done)
	}
}

// settle finishes an event that was not committed, and those that repeat it.
func (p *pending) settle(r Result) {
	for _, d := range p.dups {
		d.finish(r)
	}
	p.dups = nil
	p.finish(r)
}

// A submission moves once: the active loop claims it when it is about to process
// one of its events, or its caller abandons it before. Only a claimed one can have
// an uncertain outcome, however long it waited.
const (
	subWaiting int32 = iota
	subClaimed
	subAbandoned
)

// submission is what one call of Deliver or DeliverBatch brought.
type submission struct {
	events []pending
	bytes  int64
	queue  *intake // in which it takes room until it is answered
	left   atomic.Int64
	state  atomic.Int32
	done   chan struct{} // closed when every event is finished
}

// pendingOverhead is about what an event takes besides its bytes.
const pendingOverhead = 64

func newSubmission(evs []Event) *submission {
	s := &submission{events: make([]pending, len(evs)), done: make(chan struct{})}
	for i := range evs {
		s.events[i] = pending{ev: evs[i], sub: s}
		s.bytes += int64(len(evs[i].Payload)) + pendingOverhead
	}
	s.left.Store(int64(len(evs)))
	return s
}

func (s *submission) fail(err error) []Result {
	out := make([]Result, len(s.events))
	for i := range out {
		out[i].Err = err
	}
	return out
}

func (s *submission) results() []Result {
	out := make([]Result, len(s.events))
	for i := range out {
		out[i] = s.events[i].res
	}
	return out
}

// intake is the bounded queue in front of the active loop. Its bounds hold for all
// that has no answer yet, also for what is in flight. Full is an answer.
type intake struct {
	ch        chan *submission
	events    atomic.Int64
	bytes     atomic.Int64
	maxEvents int64
	maxBytes  int64
	ended     chan struct{} // closed when nobody takes any more
}

func newIntake(maxEvents, maxBytes int) *intake {
	return &intake{ch: make(chan *submission, maxEvents), maxEvents: int64(maxEvents), maxBytes: int64(maxBytes), ended: make(chan struct{})}
}

// submit queues s and waits for its results. Callers run it concurrently.
func (q *intake) submit(ctx context.Context, s *submission) []Result {
	s.queue = q
	n := int64(len(s.events))
	events, bytes := q.events.Add(n), q.bytes.Add(s.bytes) // both: release takes both back
	// A batch that alone is over a bound gets in, or it never would.
	if events > q.maxEvents && n < q.maxEvents || bytes > q.maxBytes && bytes > s.bytes {
		q.release(s)
		return s.fail(&BusyError{RetryAfter: 20 * time.Millisecond, Reason: fmt.Sprintf("%d events wait already", q.events.Load())})
	}
	select {
	case q.ch <- s:
	case <-q.ended:
		q.release(s)
		return s.fail(&NotActiveError{})
	default:
		q.release(s)
		return s.fail(&BusyError{RetryAfter: 20 * time.Millisecond, Reason: "the queue is full"})
	}
	select {
	case <-s.done:
		return s.results()
	case <-q.ended:
		if s.state.CompareAndSwap(subWaiting, subAbandoned) {
			return s.fail(&NotActiveError{})
		}
		// Claimed: the loop or the acker finishes it, also when the role ends.
		select {
		case <-s.done:
			return s.results()
		case <-ctx.Done():
		}
	case <-ctx.Done():
		if s.state.CompareAndSwap(subWaiting, subAbandoned) {
			return s.fail(fmt.Errorf("the event was not looked at in time: %w", context.Cause(ctx)))
		}
	}
	return s.fail(&UncertainError{Reason: "the caller's deadline passed while the event was being committed"})
}

// claim makes the submission the loop's; false if its caller gave up.
func (s *submission) claim() bool {
	return s.state.Load() == subClaimed || s.state.CompareAndSwap(subWaiting, subClaimed)
}

func (q *intake) release(s *submission) {
	q.events.Add(-int64(len(s.events)))
	q.bytes.Add(-s.bytes)
}
