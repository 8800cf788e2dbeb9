package standby

import (
	"context"
	"errors"
	"fmt"

	"github.com/understudy-ha/understudy/chain"
)

// source is another member's archive.
type source interface {
	links(ctx context.Context, from, n uint64) ([]chain.Link, error)
	record(ctx context.Context, seq uint64) ([]byte, error)
	outputs(ctx context.Context, from uint64, n int) ([]chain.Output, error)
}

// heal fills the hole from one other member. Links are trusted only because
// they end in the committed head that this member knows, records and outputs
// because a link commits to them.
func (a *archive) heal(ctx context.Context, from source) error {
	a.mu.Lock()
	a.healing = true
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.healing = false
		a.mu.Unlock()
	}()
	for {
		a.mu.Lock()
		upTo := a.target.Size()
		if len(a.waiting) > 0 {
			upTo = a.waiting[0].First
		}
		have, dropped := a.hist.Size(), a.dropped
		a.mu.Unlock()
		if have < upTo {
			if err := a.fetchLinks(ctx, from, have, upTo); err != nil {
				return err
			}
			continue
		}
		if err := a.fetchOutputs(ctx, from); err != nil {
			return err
		}
		if done, err := a.join(dropped); done || err != nil {
			return err
		}
	}
}

// fetchLinks appends links [have, upTo) from another member in pieces.
func (a *archive) fetchLinks(ctx context.Context, from source, have, upTo uint64) error {
	var prev chain.Link
	var err error
	if have > 0 {
		if prev, err = a.hist.Link(have - 1); err != nil {
			return err
		}
	}
	for have < upTo {
		ls, err := from.links(ctx, have, min(upTo-have, 1024))
		if err != nil {
			return err
		}
		if len(ls) == 0 {
			return fmt.Errorf("the other member has no link %d", have)
		}
		for i := range ls {
			l := &ls[i]
			if l.Seq != have+uint64(i) || l.Seq > 0 && l.Parent != prev.Hash() {
				return fmt.Errorf("link %d of the other member does not continue this history", have+uint64(i))
			}
			prev = *l
			if l.Kind == chain.KindStep || l.Kind == chain.KindGenesis {
				continue
			}
			rec, err := from.record(ctx, l.Seq)
			if err != nil {
				return err
			}
			if chain.RecordDigest(l.Kind, rec) != l.Input {
				return fmt.Errorf("record %d of the other member is not the one that its link names", l.Seq)
			}
			if err := a.locked(func() error { return a.hist.PutRecord(l.Seq, rec) }); err != nil {
				return err
			}
		}
		if err := a.locked(func() error { return a.hist.Append(ls) }); err != nil {
			return err
		}
		have += uint64(len(ls))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.target
	if len(a.waiting) > 0 {
		known = chain.Head{Link: chain.Link{Seq: a.waiting[0].First - 1}, Hash: a.waiting[0].Links[0].Parent}
	}
	if known.Size() == upTo && prev.Hash() != known.Hash {
		a.hist.Truncate(0)
		a.hist.Append([]chain.Link{a.root})
		return errors.New("the other member's links do not lead to the committed head")
	}
	return nil
}

// fetchOutputs fills the outputs up to the archived links, as far back as the
// other member keeps them.
func (a *archive) fetchOutputs(ctx context.Context, from source) error {
	size := a.hist.Size()
	if size == 0 {
		return nil
	}
	last, err := a.hist.Link(size - 1)
	if err != nil {
		return err
	}
	if err := a.wholeSteps(&last); err != nil {
		return err
	}
	for a.outs.Next() <= last.Outputs {
		outs, err := a.fetchSteps(ctx, from, a.outs.Next(), last.Outputs)
		var pruned *PrunedError
		if errors.As(err, &pruned) {
			if err := a.locked(func() error { return a.outs.Skip(min(pruned.Oldest, last.Outputs+1)) }); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := a.locked(func() error { return a.appendOutputs(outs) }); err != nil {
			return err
		}
	}
	return nil
}

// locked does one of the healer's changes: a state that is restored meanwhile
// resets the archive. What does not follow any more is refused by the stores.
func (a *archive) locked(change func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return change()
}

// join appends what was committed meanwhile; true when nothing is missing any more.
func (a *archive) join(dropped bool) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.healing = false
	if err := a.drain(); err != nil {
		return false, err
	}
	if a.hist.Size() >= a.target.Size() {
		a.dropped = false
		return true, nil
	}
	a.healing = true
	if dropped {
		a.dropped = false // what comes from now on is kept again, the rest is fetched
	}
	return false, nil
}
