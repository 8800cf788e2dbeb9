package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// built says from where a host came and what was replayed into it.
type built struct {
	checkpoint   uint64 // covered seq of the checkpoint it was restored from, 0 for none
	replayed     uint64 // events
	replayMillis float64
}

// buildHost brings a host to exactly the committed head: the warm one if there
// is one, else one restored from the newest checkpoint that works, else a
// fresh one where the journal still reaches back to genesis. A checkpoint that
// no replay has agreed with yet is not built upon: a state that was restored
// unfaithfully would not show in the chain before its next output. A daemon
// whose replay diverges is tried again from the checkpoint before; if none
// works the error says so, and this member does not become active.
func (n *node) buildHost(ctx context.Context, warm *host.Host) (*host.Host, built, error) {
	var causes []error
	try := func(h *host.Host, checkpoint uint64) (*host.Host, built, bool) {
		b := built{checkpoint: checkpoint}
		start := time.Now()
		events, err := n.replay(ctx, h, 0)
		b.replayed, b.replayMillis = events, float64(time.Since(start).Microseconds())/1000
		if err != nil {
			causes = append(causes, fmt.Errorf("from seq %d: %w", checkpoint, err))
		}
		return h, b, err == nil
	}
	var refs []fsm.CheckpointRef
	var floor uint64
	n.machine.Read(func(s *fsm.State) { refs, floor = s.Checkpoints(), s.Floor() })
	if n.g.cfg.VerifySync != VerifyOff {
		refs = slices.DeleteFunc(refs, func(r fsm.CheckpointRef) bool { return !r.Verified() })
	}
	if restored := n.replica.restoredSeq.Load(); warm != nil && warm.Poisoned() == nil &&
		(restored == 0 || slices.ContainsFunc(refs, func(r fsm.CheckpointRef) bool { return r.Seal.Seq == restored })) {
		if h, b, ok := try(warm, restored); ok {
			return h, b, nil
		}
	}
	// What is on this disk goes first: to fetch takes longer than to replay.
	slices.SortStableFunc(refs, func(x, y fsm.CheckpointRef) int {
		held := func(r *fsm.CheckpointRef) int {
			if n.g.checks.Complete(r.Seal.Manifest) {
				return 1
			}
			return 0
		}
		return held(&x) - held(&y)
	})
	for i := len(refs) - 1; i >= 0 && ctx.Err() == nil; i-- {
		h, err := n.restore(ctx, &refs[i].Seal)
		if err != nil {
			causes = append(causes, fmt.Errorf("checkpoint at seq %d: %w", refs[i].Seal.Seq, err))
			continue
		}
		if h, b, ok := try(h, refs[i].Seal.Seq); ok {
			return h, b, nil
		}
	}
	if ctx.Err() == nil {
		h, err := host.New(n.g.cfg.New(), n.g.cfg.Founding, n.g.cfg.Keys.Log, n.g.hostConfig())
		if err != nil {
			causes = append(causes, err)
		} else if h, b, ok := try(h, 0); ok {
			return h, b, nil
		}
	}
	causes = append(causes, ctx.Err())
	return nil, built{}, fmt.Errorf("no way to the committed head (floor %d, %d verified checkpoints): %w", floor, len(refs), errors.Join(causes...))
}

// restore makes a fresh host from a sealed checkpoint, fetching what is missing.
func (n *node) restore(ctx context.Context, seal *chain.Seal) (*host.Host, error) {
	if err := n.fetchCheckpoint(ctx, seal); err != nil {
		return nil, err
	}
	state, m, err := n.g.checks.State(seal.Manifest)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	pos, err := positionOf(m)
	if err != nil {
		return nil, err
	}
	if pos.Tip.Head.Hash != seal.Link || pos.Tip.Head.Seq() != seal.Seq {
		return nil, errors.New("the manifest is for another position than the seal that names it")
	}
	h, err := host.FromPosition(n.g.cfg.New(), n.g.cfg.Keys.Log, pos, &watchedReader{ctx: ctx, r: state}, n.g.hostConfig())
	if err != nil {
		return nil, fmt.Errorf("the daemon does not restore: %w", err)
	}
	return h, nil
}

// watchedReader ends a restore when its context ends.
type watchedReader struct {
	ctx context.Context
	r   io.Reader
}

func (w *watchedReader) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(b)
}

// replay brings a host over the committed journal to the head, or, if upTo is
// not zero, to the entry that ends at seq upTo. Every recomputed link must be
// the committed one. It returns the number of events replayed.
func (n *node) replay(ctx context.Context, h *host.Host, upTo uint64) (uint64, error) {
	var events uint64
	for {
		var entries []fsm.JournalEntry
		var head chain.Head
		var err error
		n.machine.Read(func(s *fsm.State) {
			head = s.Head()
			if h.Head().Seq() < head.Seq() {
				entries, err = s.Journal(h.Head().Size())
			}
		})
		if err != nil {
			return events, fmt.Errorf("the journal no longer reaches back to seq %d: %w", h.Head().Size(), err)
		}
		if h.Head().Seq() == head.Seq() && h.Head() != head {
			return events, fmt.Errorf("at seq %d: %w", head.Seq(), errForked)
		}
		if len(entries) == 0 || upTo > 0 && h.Head().Seq() >= upTo {
			return events, nil
		}
		for i := range entries {
			e := &entries[i]
			if upTo > 0 && h.Head().Seq() >= upTo {
				return events, nil
			}
			if err := ctx.Err(); err != nil {
				return events, context.Cause(ctx)
			}
			if err := n.replayEntry(h, e); err != nil {
				return events, fmt.Errorf("%w: %w", errReplay, err)
			}
			events += uint64(len(e.Steps))
			n.replica.progress.Add(1)
		}
	}
}

// errReplay: the daemon, given committed events again, does something else.
var errReplay = errors.New("replay differs from the committed history")

// replayEntry brings a host over one committed entry.
func (n *node) replayEntry(h *host.Host, e *fsm.JournalEntry) error {
	if e.First != h.Head().Size() {
		return fmt.Errorf("journal entry begins at seq %d, the host is at %d", e.First, h.Head().Seq())
	}
	if e.Kind != fsm.Batch {
		tip := h.Tip()
		link := e.Link(&tip)
		if link.Hash() != e.Last {
			return fmt.Errorf("record at seq %d: %w", e.First, errForked)
		}
		return h.Advance(&link)
	}
	var got []chain.Hash
	for i := range e.Steps {
		s := &e.Steps[i]
		flags, want := s.Flags, chain.Hash{}
		if i == len(e.Steps)-1 {
			flags |= chain.Rooted
			want = e.Last // covers all before it
		}
		ev := chain.Event{Producer: s.Producer, Sequence: s.Sequence, Time: s.Time, Payload: s.Payload}
		st, err := h.Replay(ev, flags, s.Reason, want)
		if err != nil {
			return n.firstDifference(e, got, err)
		}
		got = append(got, st.Hash)
	}
	return nil
}

// firstDifference names the first event of an entry whose replay made another
// link than the committed one.
func (n *node) firstDifference(e *fsm.JournalEntry, got []chain.Hash, cause error) error {
	for i := range got {
		l, err := n.g.hist.Link(e.First + uint64(i))
		if err != nil {
			break
		}
		if l.Hash() != got[i] {
			s := &e.Steps[i]
			return fmt.Errorf("the event at seq %d (producer %q, number %d) replays to another link: the daemon is not deterministic: %w", l.Seq, s.Producer, s.Sequence, cause)
		}
	}
	return cause
}
