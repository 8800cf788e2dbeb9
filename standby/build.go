package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
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

// restore makes a fresh host from a sealed checkpoint, fetching what is missing,
// also what turns out to be damaged only when it is read.
func (n *node) restore(ctx context.Context, seal *chain.Seal) (*host.Host, error) {
	h, err := n.restoreOnce(ctx, seal)
	if err != nil && ctx.Err() == nil {
		if m, merr := n.g.checks.Manifest(seal.Manifest); merr == nil && len(n.g.checks.Lacking(m)) > 0 {
			return n.restoreOnce(ctx, seal)
		}
	}
	return h, err
}

func (n *node) restoreOnce(ctx context.Context, seal *chain.Seal) (*host.Host, error) {
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
	h, err := host.FromPosition(n.g.cfg.New(), n.g.cfg.Keys.Log, pos, &watchedReader{ctx: ctx, r: state, reads: &n.replica.progress}, n.g.hostConfig())
	if err != nil {
		return nil, fmt.Errorf("the daemon does not restore: %w", err)
	}
	return h, nil
}

// watchedReader ends a restore when its context ends, and shows its progress.
type watchedReader struct {
	ctx   context.Context
	r     io.Reader
	reads *atomic.Uint64
}

func (w *watchedReader) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	w.reads.Add(1)
	return w.r.Read(b)
}
