package standby

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/fsm"
)

// treeHeads keeps the newest signed tree head. They are signed when somebody
// asks, at most once in a sign interval, never per event.
type treeHeads struct {
	mu   sync.Mutex
	size uint64
	note []byte
	at   time.Time
}

// TreeHead is the active's signed statement of the history's size and root: a
// C2SP checkpoint note. A head that is younger than the sign interval is given
// again if it covers at least the links that were committed when it was made.
func (g *Group) TreeHead(ctx context.Context) ([]byte, error) {
	note, _, err := g.treeHead(0)
	return note, err
}

// treeHead gives a signed tree head of at least the given size, and its size.
func (g *Group) treeHead(atLeast uint64) (note []byte, size uint64, err error) {
	a, err := g.activation()
	if err != nil {
		return nil, 0, err
	}
	g.heads.mu.Lock()
	defer g.heads.mu.Unlock()
	if g.heads.size >= atLeast && g.heads.note != nil && time.Since(g.heads.at) < g.cfg.SignInterval {
		return g.heads.note, g.heads.size, nil
	}
	var tip chain.Tip
	var signer string
	a.n.machine.Read(func(s *fsm.State) { tip = s.Tip(); signer, _, _ = s.Active() })
	if signer != g.cfg.Member || tip.Head.Link.Term != a.term {
		return nil, 0, g.notActive()
	}
	size = tip.Head.Size()
	note, err = continuity.SignTreeHead(g.id.Group, g.id.Origin, size, tip.Root(), g.cfg.Keys.Log)
	if err != nil {
		return nil, 0, err
	}
	g.heads.size, g.heads.note, g.heads.at = size, note, time.Now()
	return note, size, nil
}

// Prove makes a continuity bundle for somebody who holds the head of size old
// (the seq of its newest link plus one): it shows, offline, that the history
// continues that one, through every handoff in between. It goes to now, and next
// is 0; or, across more than [continuity.MaxHandoffs], to next, from where to
// prove again: the bundles one after the other are the proof.
func (g *Group) Prove(ctx context.Context, old uint64) (bundle []byte, next uint64, err error) {
	if old == 0 {
		return nil, 0, &RefusedError{Reason: "a proof begins at a head that the verifier holds: size 1 is GENESIS"}
	}
	note, size, err := g.treeHead(old)
	if err != nil {
		return nil, 0, err
	}
	if old > size {
		return nil, 0, &RefusedError{Reason: fmt.Sprintf("the history has %d links, a proof from size %d is not possible", size, old)}
	}
	for g.hist.Size() < size {
		// Links up to the signed size are there in a moment: the state machine
		// hands them over right after it applied them.
		changed := g.changed.wait()
		if g.archive.reach(size); g.hist.Size() >= size {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("the history on this member is still being fetched from the others: %w", context.Cause(ctx))
		}
	}
	handoffs, err := g.changes.all(g.handoffs(ctx))
	if err != nil {
		return nil, 0, err
	}
	if to := continuity.Reach(old, size, handoffs); to < size {
		root, err := continuity.RootAt(g.hist, to)
		if err != nil {
			return nil, 0, err
		}
		if note, err = continuity.SignTreeHead(g.id.Group, g.id.Origin, to, root, g.cfg.Keys.Log); err != nil {
			return nil, 0, err
		}
		next = to
	}
	bundle, err = continuity.Prove(g.hist, g.cfg.Founding, old, note, handoffs)
	return bundle, next, err
}

// changes keeps the seqs of the handoffs, rising, since proofs need all of them.
type changes struct {
	mu   sync.Mutex
	seqs []uint64
}

// all are those of a walk, newest first, which goes on only to the newest known.
func (c *changes) all(walk iter.Seq2[chain.Handoff, error]) ([]uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []uint64
	for h, err := range walk {
		if err != nil {
			return nil, err
		}
		if n := len(c.seqs); n > 0 && h.Seq <= c.seqs[n-1] {
			break
		}
		found = append(found, h.Seq)
	}
	slices.Reverse(found)
	c.seqs = append(c.seqs, found...)
	return c.seqs, nil
}

// HeadAt is the head of the given size, for those who want to hold one.
func (g *Group) HeadAt(size uint64) (chain.Head, error) {
	if g.archive.reach(size); size == 0 || size > g.hist.Size() {
		return chain.Head{}, &RefusedError{Reason: fmt.Sprintf("this member knows %d links, there is no head of size %d", g.hist.Size(), size)}
	}
	l, err := g.hist.Link(size - 1)
	if err != nil {
		return chain.Head{}, err
	}
	return chain.Head{Link: l, Hash: l.Hash()}, nil
}

// History lists the newest promotions, newest first, from the handoffs in the chain.
func (g *Group) History(ctx context.Context, limit int) ([]Promotion, error) {
	if g.node.Load() == nil {
		return nil, ErrClosed
	}
	hs, err := g.newestHandoffs(ctx, limit)
	var out []Promotion
	g.notes.mu.Lock()
	defer g.notes.mu.Unlock()
	for i := range hs {
		h := &hs[i]
		out = append(out, Promotion{
			Term: h.Term, Seq: h.Seq, Time: time.Unix(0, h.Time), From: h.OldMember, To: h.Member, Reason: h.Reason.String(),
			CheckpointSeq: h.CheckpointSeq, Replayed: h.Replayed, PhasesMillis: g.notes.phases[h.Term],
		})
	}
	return out, err
}

// newestHandoffs are the newest ones, newest first. With an error come those
// before it.
func (g *Group) newestHandoffs(ctx context.Context, limit int) (out []chain.Handoff, err error) {
	if limit <= 0 {
		return nil, nil
	}
	for h, err := range g.handoffs(ctx) {
		if err != nil {
			return out, err
		}
		if out = append(out, h); len(out) == limit {
			break
		}
	}
	return out, nil
}

// handoffs walks along them, the newest first.
func (g *Group) handoffs(ctx context.Context) iter.Seq2[chain.Handoff, error] {
	return func(yield func(chain.Handoff, error) bool) {
		var h chain.Handoff
		g.node.Load().machine.Read(func(s *fsm.State) { _, h, _ = s.Active() })
		for h.Term > 0 && yield(h, nil) && h.PrevHandoff > 0 {
			prev, err := g.handoff(ctx, h.PrevHandoff)
			if err != nil {
				yield(chain.Handoff{}, err)
				return
			}
			h = *prev
		}
	}
}

func (g *Group) handoff(ctx context.Context, seq uint64) (*chain.Handoff, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	g.archive.reach(seq + 1)
	data, err := g.hist.Record(seq)
	if err != nil {
		return nil, fmt.Errorf("the handoff at seq %d is not on this member's disk: %w", seq, err)
	}
	h, err := chain.ParseHandoff(data)
	if err != nil {
		return nil, fmt.Errorf("the handoff at seq %d does not parse: %w", seq, err)
	}
	return h, nil
}
