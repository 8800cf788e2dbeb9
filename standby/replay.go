package standby

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// errReplay: the daemon, given committed events again, does something else.
var errReplay = errors.New("replay differs from the committed history")

// replay brings a host over the committed journal to the head, or, if upTo is
// not zero, to the entry that ends at seq upTo. It returns the number of events
// replayed.
//
// The daemon must put out what is recorded. That what is recorded makes exactly
// the committed links is computed by a second goroutine meanwhile, so that a
// promotion waits for the slower of the two and not for both. A replay that is
// cut short can be gone on with.
func (n *node) replay(ctx context.Context, h *host.Host, upTo uint64) (uint64, error) {
	var events uint64
	pen := n.g.poison.Pen(true)
	defer pen.Close()
	pen.Begin()
	h.Attend(pen.Note)
	defer h.Attend(nil)
	for {
		entries, err := n.stretch(h, upTo)
		if err != nil || len(entries) == 0 {
			return events, err
		}
		links := n.linked(ctx, h.Tip(), entries)
		done, err := n.follow(ctx, h, entries)
		events += done
		tip, lerr := links(err)
		if err == nil {
			err = lerr
		}
		if err == nil {
			if err = h.Arrive(tip); err != nil {
				err = fmt.Errorf("%w: %w", errReplay, err)
			}
		}
		if err != nil {
			return events, err
		}
	}
}

// stretch is the committed entries after the host's head, up to an end.
func (n *node) stretch(h *host.Host, upTo uint64) (entries []fsm.JournalEntry, err error) {
	from, head := h.Head(), chain.Head{}
	n.machine.Read(func(s *fsm.State) {
		if head = s.Head(); from.Seq() < head.Seq() {
			entries, err = s.Journal(from.Size())
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("the journal no longer reaches back to seq %d: %w", from.Size(), err)
	case from.Seq() > head.Seq() || from.Seq() == head.Seq() && from != head:
		return nil, fmt.Errorf("at seq %d: %w", head.Seq(), errForked)
	}
	for i := range entries {
		if upTo > 0 && entries[i].First > upTo {
			return entries[:i], nil
		}
	}
	return entries, nil
}

// linked makes the links of entries anew on a goroutine of its own. What it
// returns waits for where they end; an error given to it ends the work.
func (n *node) linked(ctx context.Context, tip chain.Tip, entries []fsm.JournalEntry) func(error) (*chain.Tip, error) {
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		for i := range entries {
			if stop.Load() || ctx.Err() != nil {
				done <- context.Cause(ctx)
				return
			}
			e, err := entries[i].Entry()
			if err == nil {
				err = e.Extend(&tip)
			}
			if err != nil {
				done <- fmt.Errorf("%w: %w", errReplay, err)
				return
			}
			n.replica.moved()
		}
		done <- nil
	}()
	return func(err error) (*chain.Tip, error) {
		stop.Store(err != nil)
		err = <-done
		return &tip, err
	}
}

// follow has the daemon process the steps of entries that it has not seen yet.
func (n *node) follow(ctx context.Context, h *host.Host, entries []fsm.JournalEntry) (events uint64, err error) {
	for i := range entries {
		if entries[i].First <= h.Sequence() {
			continue // an earlier replay was cut short after it
		}
		if err := ctx.Err(); err != nil {
			return events, context.Cause(ctx)
		}
		e, err := entries[i].Entry()
		if err != nil {
			return events, fmt.Errorf("%w: %w", errReplay, err)
		}
		if err := n.g.mayReplay(e); err != nil {
			return events, err
		}
		if err := followEntry(h, e); err != nil {
			return events, fmt.Errorf("%w: %w", errReplay, err)
		}
		n.g.survived(e)
		events += uint64(len(e.Steps))
		n.replica.moved()
	}
	return events, nil
}

// followEntry brings a host over one committed entry.
func followEntry(h *host.Host, e *fsm.Entry) error {
	if e.Kind != fsm.Batch {
		return h.Skip(e.LinkKind(), e.Term, e.Time)
	}
	for i := range e.Steps {
		s := &e.Steps[i]
		flags := s.Flags
		if i == len(e.Steps)-1 {
			flags |= chain.Rooted
		}
		ev := chain.Event{Producer: s.Producer, Sequence: s.Sequence, Time: s.Time, Payload: s.Payload}
		var diverged *host.DivergenceError
		if err := h.Follow(ev, flags, s.Outputs); errors.As(err, &diverged) {
			return fmt.Errorf("the event at seq %d (producer %q, number %d): the daemon is not deterministic: %w", diverged.Seq, s.Producer, s.Sequence, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}
