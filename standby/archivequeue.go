package standby

import (
	"context"
	"sync"

	"github.com/understudy-ha/understudy/fsm"
)

// queue is what the state machine has handed to the archive, in order.
type queue struct {
	more chan struct{} // something is there

	mu      sync.Mutex
	results []*fsm.Result
}

// maxQueued bounds the entries that the archive may be behind, maxTogether the
// links that are appended with one write.
const (
	maxQueued   = 64
	maxTogether = 4096
)

func newQueue() queue { return queue{more: make(chan struct{}, 1)} }

// add says whether the queue is full now.
func (q *queue) add(r *fsm.Result) bool {
	q.mu.Lock()
	q.results = append(q.results, r)
	full := len(q.results) >= maxQueued
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
	return full
}

// take empties the queue.
func (q *queue) take() []*fsm.Result {
	q.mu.Lock()
	defer q.mu.Unlock()
	rs := q.results
	q.results = nil
	return rs
}

// together is how many entries are stored at once.
func together(rs []*fsm.Result) int {
	n, links := 1, len(rs[0].Links)
	for n < len(rs) && links+len(rs[n].Links) <= maxTogether {
		links += len(rs[n].Links)
		n++
	}
	return n
}

// apply takes what one committed entry brought. It waits only if the archive
// cannot keep up with the state machine.
func (a *archive) apply(r *fsm.Result) {
	if len(r.Links) > 0 && a.queue.add(r) {
		a.catchUp()
	}
}

// run appends what is handed over. Whoever cannot wait for it catches up.
func (a *archive) run(ctx context.Context) {
	for {
		select {
		case <-a.queue.more:
		case <-ctx.Done():
			return
		}
		a.writing.begin()
		a.catchUp()
		a.writing.end()
	}
}

// catchUp takes in everything that was handed over before it was called.
func (a *archive) catchUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takeAll()
}

// reach catches up if the history is shorter than size, for readers of what
// the state machine has applied already.
func (a *archive) reach(size uint64) {
	if a.hist.Size() < size {
		a.catchUp()
	}
}

func (a *archive) takeAll() {
	for rs := a.queue.take(); len(rs) > 0; {
		n := together(rs)
		if err := a.extend(rs[:n]); err != nil {
			a.log.Error("the archive cannot be written; it is healed from the other members", "err", err)
			a.keep(rs[0])
			n = 1
		}
		rs = rs[n:]
	}
}

// extend stores entries if nothing is missing before them, else keeps them.
func (a *archive) extend(rs []*fsm.Result) error {
	if a.hist.Size() != rs[0].First || a.outs.Next() != firstOutput(rs[0]) || len(a.waiting) > 0 || a.healing {
		for _, r := range rs {
			a.keep(r)
		}
		return nil
	}
	err := a.store(rs)
	if err == nil {
		a.aim(rs[len(rs)-1])
	}
	return err
}
