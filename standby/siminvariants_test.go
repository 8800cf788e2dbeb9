package standby

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// invariants is the one committed history, as it grows, and what must be true
// of it at every moment.
type invariants struct {
	line   []chain.Hash      // links by seq
	terms  map[uint64]string // who was active, by term
	have   map[*Group]uint64 // links compared of each running member
	acks   int               // acknowledgements looked at
	proven continuity.Held   // up to where the newest proof went
}

// holds looks at the group as it is, in the middle of whatever goes on: every
// member's history is a prefix of the one, each term has one active, and what
// was acknowledged is where its receipt says.
func (v *invariants) holds(s *sim) {
	if v.terms == nil {
		v.terms, v.have = make(map[uint64]string), make(map[*Group]uint64)
	}
	for _, name := range s.names {
		g := s.members[name].group()
		if g == nil {
			continue
		}
		v.prefix(s, name, g)
		n := g.node.Load()
		if a := n.active.Load(); a != nil {
			v.activeIn(s, a.term, name)
		}
		n.machine.Read(func(st *fsm.State) { require.NoError(s.t, st.Diverged()) })
	}
	s.mu.Lock()
	fresh := s.acked[v.acks:]
	s.mu.Unlock()
	v.acks += len(fresh)
	for i := range fresh {
		r := &fresh[i].r
		if !r.Duplicate {
			v.activeIn(s, r.Term, fresh[i].by)
		}
		if r.Seq < uint64(len(v.line)) {
			require.Equal(s.t, v.line[r.Seq], r.Link, "another link is where seq %d was acknowledged", r.Seq)
		}
	}
}

func (v *invariants) activeIn(s *sim, term uint64, member string) {
	if was, ok := v.terms[term]; ok {
		require.Equal(s.t, was, member, "two actives in term %d", term)
	}
	v.terms[term] = member
}

// prefix compares a member's committed links with the one history.
func (v *invariants) prefix(s *sim, name string, g *Group) {
	head := g.node.Load().head()
	seq := v.have[g]
	for ; seq < min(g.hist.Size(), head.Size()); seq++ {
		l, err := g.hist.Link(seq)
		if err != nil {
			break // being cut to the state, or its disk is gone
		}
		h := l.Hash()
		if seq == uint64(len(v.line)) {
			v.line = append(v.line, h)
			if l.Kind == chain.KindHandoff {
				rec, err := g.hist.Record(seq)
				if err == nil {
					ho, err := chain.ParseHandoff(rec)
					require.NoError(s.t, err)
					v.activeIn(s, l.Term, ho.Member)
				}
			}
		} else if seq > uint64(len(v.line)) {
			break
		}
		require.Equal(s.t, v.line[seq], h, "%s has another link at seq %d", name, seq)
	}
	v.have[g] = seq
	if q := head.Seq(); q < uint64(len(v.line)) {
		require.Equal(s.t, v.line[q], head.Hash, "%s has another head at seq %d", name, q)
	}
}

// settled looks at the group at rest, with everything repaired.
func (v *invariants) settled(s *sim) {
	head := s.check()
	v.holds(s)
	require.Equal(s.t, head.Hash, v.line[head.Seq()])
	s.mu.Lock()
	acked := s.acked
	s.mu.Unlock()
	for i := range acked {
		require.Equal(s.t, v.line[acked[i].r.Seq], acked[i].r.Link, "an acknowledged event is not in the history")
	}
	name := s.names[s.rng.IntN(len(s.names))]
	v.replays(s, s.members[name].group())
	if len(acked) > 0 {
		v.proves(s, acked[s.rng.IntN(len(acked))].r)
	}
	for g := range v.have { // of members that were killed
		if g.ctx.Err() != nil {
			delete(v.have, g)
		}
	}
}

// replays builds the daemon from what a member keeps, the oldest checkpoint or
// genesis and the journal, and must arrive at its head.
func (v *invariants) replays(s *sim, g *Group) {
	n := g.node.Load()
	var refs []fsm.CheckpointRef
	n.machine.Read(func(st *fsm.State) { refs = st.Checkpoints() })
	h, err := host.New(s.daemon(), s.f, g.cfg.Keys.Log, g.hostConfig())
	require.NoError(s.t, err)
	for i := range refs {
		if _, err := journalFrom(n, refs[i].Seal.Seq+1); err == nil && g.checks.Complete(refs[i].Seal.Manifest) {
			h, err = n.restore(context.Background(), &refs[i].Seal)
			require.NoError(s.t, err)
			break
		}
	}
	if _, err := journalFrom(n, h.Head().Size()); errors.Is(err, fsm.ErrPruned) {
		return // it was away for long and fetches a checkpoint only now
	}
	head := n.head() // a seal or a handoff may be applied meanwhile
	_, err = n.replay(context.Background(), h, head.Seq())
	require.NoError(s.t, err)
	require.Equal(s.t, head, h.Head(), "the journal does not replay to the head")
}

func journalFrom(n *node, seq uint64) (es []fsm.JournalEntry, err error) {
	n.machine.Read(func(st *fsm.State) { es, err = st.Journal(seq) })
	return es, err
}

// proves has the active prove its history to somebody who holds the link of an
// old receipt, and to the holder of the last proof.
func (v *invariants) proves(s *sim, old Receipt) {
	held := []continuity.Held{{Size: old.Seq + 1, Hash: old.Link}}
	if v.proven.Size > 0 {
		held = append(held, v.proven)
	}
	for _, h := range held {
		var bundle []byte
		s.eventually("the active proves its history", func() bool {
			a := s.active() // that may take its time
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			var err error
			bundle, err = proof(ctx, a, h.Size)
			require.True(s.t, err == nil || errors.Is(err, ErrNotActive) || errors.Is(err, ErrClosed), "%v", err)
			return err == nil
		})
		verdict, err := continuity.Verify(bundle, h, s.f)
		require.NoError(s.t, err, "a proof from size %d", h.Size)
		require.Less(s.t, verdict.To-1, uint64(len(v.line))+64)
		if verdict.To <= uint64(len(v.line)) {
			require.Equal(s.t, v.line[verdict.To-1], verdict.Head)
		}
		v.proven = verdict.Held()
	}
}

// proof is all that an active proves from a size on.
func proof(ctx context.Context, g *Group, old uint64) (all []byte, err error) {
	for next := old; next > 0; {
		var b []byte
		if b, next, err = g.Prove(ctx, next); err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}
