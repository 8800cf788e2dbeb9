package standby

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/fsm"
)

// treeHeads keeps the newest signed tree head. They are signed when somebody
// asks, at most once in a sign interval, never per event.
type treeHeads struct {
	mu     sync.Mutex
	size   uint64
	newest uint64 // seq of the newest HANDOFF under it
	note   []byte
	at     time.Time
}

// TreeHead is the active's signed statement of the history's size and root: a
// C2SP checkpoint note. A head that is younger than the sign interval is given
// again if it covers at least the links that were committed when it was made.
func (g *Group) TreeHead(ctx context.Context) ([]byte, error) {
	note, _, _, err := g.treeHead(0)
	return note, err
}

// treeHead gives a signed tree head of at least the given size, its size, and
// the seq of the newest HANDOFF under it.
func (g *Group) treeHead(atLeast uint64) (note []byte, size, newest uint64, err error) {
	a, err := g.activation()
	if err != nil {
		return nil, 0, 0, err
	}
	g.heads.mu.Lock()
	defer g.heads.mu.Unlock()
	if g.heads.size >= atLeast && g.heads.note != nil && time.Since(g.heads.at) < g.cfg.SignInterval {
		return g.heads.note, g.heads.size, g.heads.newest, nil
	}
	var tip chain.Tip
	var signer string
	a.n.machine.Read(func(s *fsm.State) { tip = s.Tip(); signer, _, newest = s.Active() })
	if signer != g.cfg.Member || tip.Head.Link.Term != a.term {
		return nil, 0, 0, g.notActive()
	}
	size = tip.Head.Size()
	note, err = continuity.SignTreeHead(g.id.Group, g.id.Origin, size, tip.Root(), g.cfg.Keys.Log)
	if err != nil {
		return nil, 0, 0, err
	}
	g.heads.size, g.heads.newest, g.heads.note, g.heads.at = size, newest, note, time.Now()
	return note, size, newest, nil
}

// Prove makes a continuity bundle for somebody who holds the head of size old
// (the seq of its newest link plus one): it shows, offline, that the history
// of now continues that one, through every handoff in between.
func (g *Group) Prove(ctx context.Context, old uint64) ([]byte, error) {
	if old == 0 {
		return nil, &RefusedError{Reason: "a proof begins at a head that the verifier holds: size 1 is GENESIS"}
	}
	note, size, newest, err := g.treeHead(old)
	if err != nil {
		return nil, err
	}
	if old > size {
		return nil, &RefusedError{Reason: fmt.Sprintf("the history has %d links, a proof from size %d is not possible", size, old)}
	}
	if !g.archive.whole() {
		// Links up to the signed size are there in a moment: the state machine
		// hands them over right after it applied them.
		for g.hist.Size() < size {
			changed := g.changed.wait()
			if g.hist.Size() >= size {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, fmt.Errorf("the history on this member is still being fetched from the others: %w", context.Cause(ctx))
			}
		}
	}
	return continuity.Prove(g.hist, g.cfg.Founding, old, note, newest)
}

// HeadAt is the head of the given size, for those who want to hold one.
func (g *Group) HeadAt(size uint64) (chain.Head, error) {
	if size == 0 || size > g.hist.Size() {
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
	n := g.node.Load()
	if n == nil {
		return nil, ErrClosed
	}
	var seq uint64
	var newest chain.Handoff
	n.machine.Read(func(s *fsm.State) { _, newest, seq = s.Active() })
	var out []Promotion
	h := &newest
	for h.Term > 0 && len(out) < limit && ctx.Err() == nil {
		g.notes.mu.Lock()
		phases := g.notes.phases[h.Term]
		g.notes.mu.Unlock()
		out = append(out, Promotion{
			Term: h.Term, Seq: seq, Time: time.Unix(0, h.Time), From: h.OldMember, To: h.Member, Reason: h.Reason.String(),
			CheckpointSeq: h.CheckpointSeq, Replayed: h.Replayed, PhasesMillis: phases,
		})
		if h.PrevHandoff == 0 {
			break
		}
		seq = h.PrevHandoff
		data, err := g.hist.Record(seq)
		if err != nil {
			return out, fmt.Errorf("the handoff at seq %d is not on this member's disk: %w", seq, err)
		}
		if h, err = chain.ParseHandoff(data); err != nil {
			return out, errors.Join(err, fmt.Errorf("the handoff at seq %d does not parse", seq))
		}
	}
	return out, ctx.Err()
}
