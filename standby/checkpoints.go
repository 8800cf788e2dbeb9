package standby

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/checkpoint"
)

// fetchers is how many chunks are fetched at a time. Most of that time they wait
// for the disk, which makes several durable in one go.
const fetchers = 8

// writeCheckpoint streams a captured state into the checkpoint store. A daemon
// that stops writing is left behind, and makes no other checkpoint until it
// comes back.
func (a *activation) writeCheckpoint(ctx context.Context, c *host.Capturing) (*checkpoint.Manifest, chain.Hash, error) {
	if !a.writing.CompareAndSwap(false, true) {
		c.Release()
		return nil, chain.Hash{}, errors.New("the snapshot before has not ended yet")
	}
	type written struct {
		m      *checkpoint.Manifest
		digest chain.Hash
	}
	var bytes atomic.Uint64
	got, err := watched(ctx, a.n.g.cfg.PromotionStall, bytes.Load, func(ctx context.Context) (written, error) {
		defer a.writing.Store(false)
		defer c.Release()
		w, err := a.n.g.checks.Writer(manifestOf(a.n.g, c))
		if err != nil {
			return written{}, err
		}
		defer w.Abort()
		if err := c.WriteState(&watchedWriter{ctx: ctx, w: w, bytes: &bytes}); err != nil {
			return written{}, fmt.Errorf("the daemon's snapshot failed: %w", err)
		}
		m, digest, err := w.Commit()
		return written{m, digest}, err
	})
	if errors.Is(err, errHung) {
		a.n.g.leftBehind("writing a snapshot", err)
	}
	return got.m, got.digest, err
}

// watchedWriter ends a snapshot when its context ends, and shows its progress,
// also where the daemon gives all of its state in one piece.
type watchedWriter struct {
	ctx   context.Context
	w     io.Writer
	bytes *atomic.Uint64
}

func (w *watchedWriter) Write(b []byte) (n int, err error) {
	for more := true; more && err == nil; more = n < len(b) {
		if err := w.ctx.Err(); err != nil {
			return n, err
		}
		var k int
		k, err = w.w.Write(b[n:min(n+checkpoint.ChunkSize, len(b))])
		n += k
		w.bytes.Add(uint64(k))
	}
	return n, err
}

func manifestOf(g *Group, c *host.Capturing) checkpoint.Manifest {
	pos := c.Position
	return checkpoint.Manifest{
		Origin: g.id.Origin, Daemon: c.DaemonName,
		Head: pos.Tip.Head.Link, Frontier: pos.Tip.Frontier.Hashes(),
		Horizon: pos.Horizon, Subscriptions: pos.Subscriptions,
	}
}

// positionOf is the host position that a manifest describes.
func positionOf(m *checkpoint.Manifest) (host.Position, error) {
	f, err := chain.NewFrontier(m.Head.Seq+1, m.Frontier)
	if err != nil {
		return host.Position{}, err
	}
	tip := chain.Tip{Head: chain.Head{Link: m.Head, Hash: m.Head.Hash()}, Frontier: f}
	return host.Position{Tip: tip, Horizon: m.Horizon, Subscriptions: m.Subscriptions}, nil
}

// sameState compares the state of a daemon whose snapshots are canonical with
// a sealed checkpoint, byte for byte through their chunks.
func (n *node) sameState(ctx context.Context, h *host.Host, seal *chain.Seal) error {
	if c, ok := h.Daemon().(host.Canonical); !ok || !c.CanonicalSnapshot() {
		return nil
	}
	if err := n.fetchCheckpoint(ctx, seal); err != nil {
		return err
	}
	want, m, err := n.g.checks.State(seal.Manifest)
	if err != nil {
		return err
	}
	defer want.Close()
	c, err := h.Capture()
	if err != nil {
		return err
	}
	defer c.Release()
	cmp := &comparer{want: want}
	if err := c.WriteState(&watchedWriter{ctx: ctx, w: cmp, bytes: &n.replica.progress}); err != nil {
		return err
	}
	if cmp.at != m.Size {
		return fmt.Errorf("%w: %d bytes at seq %d, the checkpoint has %d", errState, cmp.at, seal.Seq, m.Size)
	}
	return nil
}

// errState: a replay has the committed links and another state.
var errState = errors.New("this member's replay has another state than the checkpoint")

// comparer is a writer that fails at the first byte that differs.
type comparer struct {
	want io.Reader
	buf  []byte
	at   uint64
}

func (c *comparer) Write(b []byte) (int, error) {
	if len(c.buf) < len(b) {
		c.buf = make([]byte, len(b))
	}
	n, err := io.ReadFull(c.want, c.buf[:len(b)])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return 0, err // the checkpoint cannot be read: that says nothing of the state
	}
	if !bytes.Equal(c.buf[:n], b[:n]) || err != nil {
		return 0, fmt.Errorf("%w: near byte %d; the daemon is not deterministic or its snapshot is not faithful", errState, c.at)
	}
	c.at += uint64(n)
	return n, nil
}

// fetchCheckpoint makes sure that a sealed checkpoint is here, whole and
// durable, fetching from any member only what is missing. What was damaged since
// this process read it first comes out when it is read again.
func (n *node) fetchCheckpoint(ctx context.Context, seal *chain.Seal) error {
	checks := n.g.checks
	if !checks.HasManifest(seal.Manifest) {
		err := fromAny(ctx, n.sources(), func(member string) error {
			data, err := n.g.peers.manifest(ctx, member, seal.Manifest, n.replica.moved)
			if err != nil {
				return err
			}
			return checks.PutManifest(seal.Manifest, data)
		})
		if err != nil {
			return fmt.Errorf("manifest %.8s: %w", seal.Manifest, err)
		}
	}
	m, err := checks.Manifest(seal.Manifest)
	if err != nil {
		return err
	}
	missing, err := n.lacking(ctx, m)
	if err != nil || len(missing) == 0 {
		return err
	}
	return n.fetchChunks(ctx, m, missing)
}

// lacking lists what of a checkpoint is not here or not whole. It reads what this
// process has not found whole before, and that is progress.
func (n *node) lacking(ctx context.Context, m *checkpoint.Manifest) ([]chain.Hash, error) {
	return n.g.checks.Look(m, func() error {
		n.replica.moved()
		return ctx.Err()
	})
}

// holds says whether a checkpoint is here and whole.
func (n *node) holds(ctx context.Context, manifest chain.Hash) bool {
	m, err := n.g.checks.Manifest(manifest)
	if err != nil {
		return false
	}
	missing, err := n.lacking(ctx, m)
	return err == nil && len(missing) == 0
}

func (n *node) fetchChunks(ctx context.Context, m *checkpoint.Manifest, missing []chain.Hash) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan chain.Hash)
	var wg sync.WaitGroup
	for range min(fetchers, len(missing)) {
		wg.Go(func() {
			sources := n.sources()
			for h := range work {
				err := fromAny(ctx, sources, func(member string) error {
					data, err := n.g.peers.chunk(ctx, member, h, m.ChunkSize, n.replica.moved)
					if err != nil {
						return err
					}
					return n.g.checks.PutChunk(h, data)
				})
				if err != nil {
					cancel(fmt.Errorf("chunk %.8s: %w", h, err))
				}
				n.replica.moved()
			}
		})
	}
feed:
	for _, h := range missing {
		select {
		case work <- h:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return n.g.checks.Sync()
}

// sources are the other members, the active first.
func (n *node) sources() []string {
	active, _ := n.g.Active()
	var order []string
	for _, m := range n.g.cfg.Founding.Roster.Members {
		switch m.Name {
		case n.g.cfg.Member:
		case active:
			order = slices.Insert(order, 0, m.Name)
		default:
			order = append(order, m.Name)
		}
	}
	return order
}

// fromAny tries members in turn until one succeeds. Those that failed go to the
// end of the list: who asks for more does not wait for a dead one each time.
func fromAny(ctx context.Context, sources []string, f func(member string) error) error {
	errs := []error{errors.New("no member has it")}
	for range sources {
		m := sources[0]
		err := f(m)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
		copy(sources, sources[1:])
		sources[len(sources)-1] = m
	}
	return errors.Join(errs...)
}

// collect drops checkpoints that no kept SEAL names. One that is beyond the
// newest SEAL stays: its own SEAL may still be on the way.
func (g *Group) collect(refs []fsm.CheckpointRef) {
	if len(refs) == 0 {
		return
	}
	newest := refs[len(refs)-1].Seal
	g.collecting.Lock()
	defer g.collecting.Unlock()
	if g.collected == newest.Manifest {
		return
	}
	keep := make([]chain.Hash, 0, len(refs))
	for i := range refs {
		keep = append(keep, refs[i].Seal.Manifest)
	}
	have, err := g.checks.List()
	for _, d := range have {
		if m, err := g.checks.Manifest(d); err == nil && m.Head.Seq > newest.Seq {
			keep = append(keep, d)
		}
	}
	if err = errors.Join(err, g.checks.Collect(keep)); err != nil {
		g.log.Warn("old checkpoints cannot be collected", "err", err)
	}
	g.collected = newest.Manifest
}
