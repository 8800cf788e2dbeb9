package standby

import (
	"context"
	"errors"
	"fmt"
	"sort"

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

// fetchSteps gets outputs from a number on, of whole steps, checked. A step may
// have more of them than one answer.
func (a *archive) fetchSteps(ctx context.Context, from source, next, limit uint64) ([]chain.Output, error) {
	var all []chain.Output
	for size := 0; ; {
		outs, err := from.outputs(ctx, next+uint64(len(all)), maxPeerBatch)
		if err != nil {
			return nil, err
		}
		all = append(all, outs...)
		if good, err := a.provenOutputs(all, limit); len(good) > 0 || err != nil {
			return good, err
		}
		for i := range outs {
			size += len(outs[i].Payload)
		}
		if len(outs) == 0 || size > maxStep {
			return nil, errors.New("the other member sent no complete step's outputs")
		}
	}
}

// maxStep bounds the bytes of a step's outputs in any group's settings.
const maxStep = 4 << 20

// locked does one of the healer's changes: a state that is restored meanwhile
// resets the archive. What does not follow any more is refused by the stores.
func (a *archive) locked(change func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return change()
}

// wholeSteps cuts the outputs after their last complete step: a torn write may
// have left a part of one, which alone cannot be checked or gone on from. What is
// kept of the step is not read for that: it may be damaged, on every member.
func (a *archive) wholeSteps(last *chain.Link) error {
	next := a.outs.Next()
	if next <= a.outs.Oldest() || next > last.Outputs {
		return nil // none, all, or ahead of the links, from an entry that is still waiting
	}
	first, err := a.stepOf(next)
	if err != nil || first == next {
		return err
	}
	return a.locked(func() error { return a.outs.Truncate(first) })
}

// stepOf is the number of the first output of the step that an output is of, by
// the archived links, which reach so far.
func (a *archive) stepOf(output uint64) (first uint64, err error) {
	outputs := func(seq int) uint64 {
		l, lerr := a.hist.Link(uint64(seq))
		err = errors.Join(err, lerr)
		return l.Outputs
	}
	seq := sort.Search(int(a.hist.Size()), func(seq int) bool { return outputs(seq) >= output })
	return outputs(max(seq, 1)-1) + 1, err
}

// patchOutputs fetches a piece of damaged outputs from another member, from one
// on, and puts it back. It gives the number from which on more are damaged.
func (a *archive) patchOutputs(ctx context.Context, from source, output, limit uint64) (next uint64, err error) {
	first, err := a.stepOf(output)
	if err != nil {
		return 0, err
	}
	outs, err := a.fetchSteps(ctx, from, first, limit)
	if err != nil {
		return 0, err
	}
	err = a.locked(func() error {
		next, err = a.outs.Patch(outs[output-first:])
		return a.sure(err)
	})
	return next, err
}

// provenOutputs checks whole steps' outputs against their links and returns
// those of the steps that are complete, none if the first is not.
func (a *archive) provenOutputs(outs []chain.Output, limit uint64) ([]chain.Output, error) {
	good := 0
	for i := 0; i < len(outs) && outs[i].Number <= limit; {
		l, err := a.hist.Link(outs[i].Seq)
		if err != nil {
			return nil, err
		}
		before := uint64(0)
		if l.Seq > 0 {
			p, err := a.hist.Link(l.Seq - 1)
			if err != nil {
				return nil, err
			}
			before = p.Outputs
		}
		n := int(l.Outputs - before)
		if n == 0 {
			return nil, fmt.Errorf("the other member has outputs of seq %d, which has none", l.Seq)
		}
		if i+n > len(outs) {
			break
		}
		payloads := make([][]byte, n)
		for j := range payloads {
			o := &outs[i+j]
			if o.Number != outs[i].Number+uint64(j) || o.Seq != l.Seq || o.Term != l.Term { // the root is of payloads only
				return nil, fmt.Errorf("output %d of the other member is not one of its link, seq %d", o.Number, l.Seq)
			}
			payloads[j] = o.Payload
		}
		if i == 0 && outs[i].Number > before+1 {
			// The other member's oldest kept output lies within a step: what is
			// left of that step cannot be checked.
			return nil, &PrunedError{Oldest: l.Outputs + 1}
		}
		if outs[i].Number != before+1 || chain.OutputRoot(before+1, payloads) != l.OutputRoot {
			return nil, fmt.Errorf("outputs of seq %d of the other member are not those that its link names", l.Seq)
		}
		i += n
		good = i
	}
	return outs[:good], nil
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
