package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/internal/outputs"
)

// archive keeps what committed entries leave behind on this member's disk:
// every link with its Merkle hashes, the records, and the outputs. The state
// machine's goroutine appends; a healer fills holes from the other members
// after a Raft snapshot or a damaged file. The Raft log holds the truth, so
// nothing is fsynced here before a Raft snapshot lets go of entries.
type archive struct {
	log  *slog.Logger
	hist *history.Store
	outs *outputs.Store
	hole *signal    // something is missing
	root chain.Link // GENESIS, which every member knows

	mu      sync.Mutex    // guards what follows: the appender and the healer
	target  chain.Head    // committed head below which a hole may be
	outputs uint64        // outputs committed up to target
	waiting []*fsm.Result // committed after the hole, in order
	dropped bool          // waiting overflowed: the hole reaches to target
	healing bool          // the healer appends now
}

// maxWaiting bounds the results kept in memory while a hole is healed.
const maxWaiting = 4096

// apply stores what one committed entry brought.
func (a *archive) apply(r *fsm.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(r.Links) == 0 {
		return
	}
	last := r.Links[len(r.Links)-1]
	if a.hist.Size() == r.First && a.outs.Next() == firstOutput(r) && len(a.waiting) == 0 && !a.healing {
		if err := a.store(r); err == nil {
			a.target, a.outputs = chain.Head{Link: last, Hash: r.Head.Hash}, last.Outputs
			return
		} else {
			a.log.Error("the archive cannot be written; it is healed from the other members", "err", err)
		}
	}
	if a.hist.Size() > r.First {
		return // stored before a restart
	}
	a.target, a.outputs = chain.Head{Link: last, Hash: r.Head.Hash}, last.Outputs
	if len(a.waiting) < maxWaiting && !a.dropped {
		a.waiting = append(a.waiting, r)
	} else {
		a.waiting, a.dropped = nil, true
	}
	a.hole.notify()
}

// firstOutput is the number that the entry's first output has or would have.
func firstOutput(r *fsm.Result) uint64 {
	n := uint64(0)
	for i := range r.Steps {
		n += uint64(len(r.Steps[i].Outputs))
	}
	return r.Links[len(r.Links)-1].Outputs - n + 1
}

func (a *archive) store(r *fsm.Result) error {
	next := firstOutput(r)
	outs := make([]chain.Output, 0, r.Links[len(r.Links)-1].Outputs+1-next)
	for i := range r.Steps {
		for _, o := range r.Steps[i].Outputs {
			outs = append(outs, chain.Output{Number: next, Seq: r.Links[i].Seq, Term: r.Links[i].Term, Payload: o})
			next++
		}
	}
	if first, have := firstOutput(r), a.outs.Next(); have > first {
		outs = outs[min(have-first, uint64(len(outs))):] // written by an earlier try that failed after it
	}
	if len(outs) > 0 {
		if err := a.outs.Append(outs); err != nil {
			return err
		}
	}
	if r.Kind != fsm.Batch {
		if err := a.hist.PutRecord(r.First, r.Record); err != nil {
			return err
		}
	}
	return a.hist.Append(r.Links)
}

// reset fits the archive to a state machine that was just restored: what goes
// beyond it comes again from the log, what is missing is a hole.
func (a *archive) reset(tip *chain.Tip) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size, outs := tip.Head.Size(), tip.Head.Link.Outputs
	a.waiting, a.dropped = nil, false
	a.target, a.outputs = tip.Head, outs
	if a.hist.Size() > size {
		if err := a.hist.Truncate(size); err != nil {
			a.log.Error("the history cannot be cut to the state", "err", err)
		}
	}
	if a.hist.Size() == size {
		if err := a.hist.Check(tip.Frontier); err != nil {
			a.log.Error("the history is damaged and fetched again", "err", err)
			a.hist.Truncate(0)
		}
	}
	if a.hist.Size() == 0 {
		a.hist.Append([]chain.Link{a.root})
	}
	if a.outs.Next() > outs+1 {
		if err := a.outs.Truncate(outs + 1); err != nil {
			a.log.Error("the outputs cannot be cut to the state", "err", err)
		}
	}
	if a.hist.Size() != size || a.outs.Next() != outs+1 {
		a.dropped = true
		a.hole.notify()
	}
}

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
	a.log.Error("the history is damaged and fetched again", "from", next, "err", err)
	err = a.hist.Truncate(next)
	if err == nil && next == 0 {
		err = a.hist.Append([]chain.Link{a.root})
	}
	if err != nil {
		a.log.Error("the history cannot be cut", "err", err)
	}
	a.waiting, a.dropped = nil, true
	a.hole.notify()
	return next
}

// scrubLinks is how many links are compared at a time: some ten milliseconds.
const scrubLinks = 8192

// sync makes everything appended so far durable.
func (a *archive) sync() error {
	return errors.Join(a.outs.Sync(), a.hist.Sync())
}

// whole says whether nothing is missing below the committed head.
func (a *archive) whole() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting) == 0 && !a.dropped && a.hist.Size() == a.target.Size() && a.outs.Next() == a.outputs+1
}

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
			if err := a.hist.PutRecord(l.Seq, rec); err != nil {
				return err
			}
		}
		if err := a.hist.Append(ls); err != nil {
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
	if err := a.wholeSteps(); err != nil {
		return err
	}
	for a.outs.Next() <= last.Outputs {
		outs, err := from.outputs(ctx, a.outs.Next(), 1024)
		if err == nil {
			outs, err = a.provenOutputs(outs, last.Outputs)
		}
		var pruned *PrunedError
		if errors.As(err, &pruned) {
			if err := a.outs.Skip(min(pruned.Oldest, last.Outputs+1)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := a.outs.Append(outs); err != nil {
			return err
		}
	}
	return nil
}

// wholeSteps cuts the outputs after their last complete step: a torn write may
// have left a part of one, which alone cannot be checked or gone on from.
func (a *archive) wholeSteps() error {
	next := a.outs.Next()
	if next <= a.outs.Oldest() {
		return nil
	}
	outs, err := a.outs.Read(next-1, 1)
	if err != nil || len(outs) == 0 || outs[0].Seq >= a.hist.Size() {
		return err // ahead of the links: from an entry that is still waiting
	}
	l, err := a.hist.Link(outs[0].Seq)
	if err != nil || l.Outputs+1 == next {
		return err
	}
	before, err := a.hist.Link(l.Seq - 1)
	if err != nil {
		return err
	}
	return a.outs.Truncate(before.Outputs + 1)
}

// provenOutputs checks whole steps' outputs against their links and returns
// those that are complete.
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
		if i+n > len(outs) {
			break
		}
		payloads := make([][]byte, n)
		for j := range payloads {
			payloads[j] = outs[i+j].Payload
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
	if good == 0 {
		return nil, errors.New("the other member sent no complete step's outputs")
	}
	return outs[:good], nil
}

// join appends what was committed meanwhile; true when nothing is missing any more.
func (a *archive) join(dropped bool) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.waiting) > 0 && a.waiting[0].First <= a.hist.Size() {
		if a.waiting[0].First == a.hist.Size() {
			if err := a.store(a.waiting[0]); err != nil {
				return false, err
			}
		}
		a.waiting = a.waiting[1:]
	}
	if a.hist.Size() >= a.target.Size() {
		a.dropped, a.healing = false, false
		return true, nil
	}
	if dropped {
		a.dropped = false // what comes from now on is kept again, the rest is fetched
	}
	return false, nil
}
