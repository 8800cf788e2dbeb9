package standby

import (
	"errors"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// scrub compares a part of the history, from a position on, with itself, and
// gives the position to go on from. What is damaged is cut off: a hole that is
// healed like any other. Nothing else would find it before a proof needs it.
func (a *archive) scrub(from uint64) uint64 {
	next, err := a.hist.Scrub(from, scrubLinks)
	if !errors.Is(err, durable.ErrDamaged) {
		return next
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if next, err = a.hist.Scrub(next, 1); !errors.Is(err, durable.ErrDamaged) {
		return next // it was being cut while it was read
	}
	if a.alone { // what is behind the damage is nowhere else
		a.log.Error("the history is damaged, and no other member has it", "from", next, "err", err)
		return max(from, next) + 1
	}
	a.log.Error("the history is damaged and fetched again", "from", next, "err", err)
	err = a.hist.Truncate(next)
	if err == nil && next == 0 {
		err = a.hist.Append([]chain.Link{a.root})
	}
	if err != nil {
		a.log.Error("the history cannot be cut", "err", err)
	}
	a.waiting, a.bytes, a.dropped = nil, 0, true
	a.hole.notify()
	return next
}

// scrubLinks is how many links are compared at a time: some ten milliseconds.
const scrubLinks = 8192

// resume is reset in a group of one, where what is damaged or missing is nowhere
// else: it stays as it is, for whoever can repair it, and is given to nobody. The
// archive goes on after the state.
func (a *archive) resume(tip *chain.Tip) error {
	size, outs := tip.Head.Size(), tip.Head.Link.Outputs
	if a.hist.Size() == 0 {
		if err := a.hist.Append([]chain.Link{a.root}); err != nil {
			return err
		}
	}
	var err error
	if a.hist.Size() > size {
		err = a.hist.Truncate(size)
	}
	if err == nil {
		err = a.hist.Check(tip.Frontier)
	}
	if err != nil {
		a.log.Error("the history is damaged, and no other member has it: it goes on with what is whole", "links", a.hist.Size(), "expected", size, "err", err)
		if err := a.hist.Resume(tip.Frontier); err != nil {
			return err
		}
	}
	whole, err := a.outs.Resume(outs + 1)
	if err == nil && !whole {
		a.log.Error("the newest outputs are damaged, and no other member has them: they go on without these", "next", outs+1)
	}
	return err
}
