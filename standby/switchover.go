package standby

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// plannedNotice tells the target of a switchover that it will be promoted
// according to plan, with the old active's signature that releases the role at
// exactly this position.
type plannedNotice struct {
	From    string       `json:"from"`
	Anchor  chain.Anchor `json:"anchor"`
	Term    uint64       `json:"term"` // the old one
	Release []byte       `json:"release"`
}

// fits says whether the handoff is the one that the notice was made for.
func (p *plannedNotice) fits(h *chain.Handoff) bool {
	return p.From == h.OldMember && p.Anchor == h.Anchor && p.Term == h.OldTerm
}

// Switchover moves the active role to a standby, the given one or the
// freshest, without losing an event: the target is synced while events go on,
// then intake stops, what is in flight commits, leadership moves, and the
// target promotes. On an error that is not [ErrUncertain] the old active goes on.
func (g *Group) Switchover(ctx context.Context, to string) (SwitchoverResult, error) {
	a, err := g.activation()
	if err != nil {
		return SwitchoverResult{}, err
	}
	n := a.n
	res := SwitchoverResult{From: g.cfg.Member, To: to}
	clock := time.Now()
	phase := func(name string) {
		res.Phases = append(res.Phases, Phase{name, millis(time.Since(clock))})
		clock = time.Now()
	}
	if res.To, err = g.target(ctx, to); err != nil {
		return res, err
	}
	phase("preflight")
	if err := n.syncTarget(ctx, a, res.To); err != nil {
		return res, &RefusedError{Reason: fmt.Sprintf("%s could not be synced: %v", res.To, err)}
	}
	phase("sync")
	stopped := time.Now()
	moved, err := g.handOver(ctx, n, a, res.To)
	phase("drain and transfer")
	if err != nil {
		return res, err
	}
	if !moved {
		return res, &RefusedError{Reason: "the active role ended before it could be handed over"}
	}
	res.Term, err = g.seePromoted(ctx, res.To, a.term)
	phase("promote")
	res.UnavailableMillis = millis(time.Since(stopped))
	return res, err
}

// seePromoted waits until the member is active in a newer term.
func (g *Group) seePromoted(ctx context.Context, member string, term uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.BarrierTimeout+g.cfg.PromotionStall)
	defer cancel()
	for {
		pos, err := g.peers.position(ctx, member, 0, 0)
		if err == nil && pos.Role == RoleActive && pos.Term > term {
			return pos.Term, nil
		}
		var now chain.Handoff
		g.node.Load().machine.Read(func(s *fsm.State) { _, now, _ = s.Active() })
		if now.Term > term && now.Member != member {
			return now.Term, &UncertainError{Reason: fmt.Sprintf("%s got the leadership and %s became active", member, now.Member), Remedy: "see history"}
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return 0, &UncertainError{Reason: fmt.Sprintf("%s got the leadership and was not seen active in time", member), Remedy: "see status"}
		case <-g.ctx.Done():
			return 0, &UncertainError{Reason: fmt.Sprintf("%s got the leadership and this member stopped before it saw it active", member), Remedy: "see status"}
		}
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// target picks and checks the member to which the role goes.
func (g *Group) target(ctx context.Context, to string) (string, error) {
	if to == g.cfg.Member {
		return to, &RefusedError{Reason: to + " is active already"}
	}
	ask := slices.DeleteFunc(g.voters(), func(m string) bool { return m == g.cfg.Member || to != "" && m != to })
	var best *position
	var why []error
	for _, a := range g.ask(ctx, ask, 2*time.Second) {
		switch {
		case a.err != nil:
			why = append(why, fmt.Errorf("%s does not answer: %w", a.member, a.err))
		case !a.pos.Eligible:
			why = append(why, fmt.Errorf("%s may not be active: %s", a.member, a.pos.Reason))
		case a.pos.ahead(best):
			best = a.pos
		}
	}
	if best == nil {
		switch {
		case len(why) == 0 && to == "":
			return to, &RefusedError{Reason: "this group has no other voter to hand over to"}
		case len(why) == 0:
			return to, &RefusedError{Reason: fmt.Sprintf("no voter %q in this group", to)}
		}
		return to, &RefusedError{Reason: errors.Join(why...).Error()}
	}
	return best.Member, nil
}

// said is what a member says of itself when it is asked.
type said struct {
	member string
	pos    *position
	err    error
}

// ask asks members at the same time.
func (g *Group) ask(ctx context.Context, members []string, patience time.Duration) []said {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := make([]said, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			out[i].member = m
			out[i].pos, out[i].err = g.peers.position(ctx, m, 0, 0)
		})
	}
	wg.Wait()
	return out
}

// heir is the member to give the role to, of those that answer now: what was
// heard of an active that has just died is of when it lived.
func (g *Group) heir(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, crashPatience)
	defer cancel()
	to, err := g.target(ctx, "")
	if err != nil {
		return ""
	}
	return to
}

// ahead says that p has more of the history than the other, which may be nil,
// or as much, and more of it replayed.
func (p *position) ahead(other *position) bool {
	return other == nil || p.Seq > other.Seq || p.Seq == other.Seq && p.HostInput > other.HostInput
}

// syncTarget seals a checkpoint and waits until the target has restored it and
// a replay has verified it, so that the promotion has next to nothing to replay.
func (n *node) syncTarget(ctx context.Context, a *activation, to string) error {
	seal, err := n.g.sealOnDemand(ctx)
	if err != nil {
		return err
	}
	for {
		pos, err := n.g.peers.position(ctx, to, 0, 0)
		if err == nil && pos.Restored >= seal.Seq && n.verified(seal.Manifest) {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-a.ctx.Done():
			return &NotActiveError{}
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// verified says whether a checkpoint may be built upon.
func (n *node) verified(manifest chain.Hash) bool {
	if n.g.cfg.VerifySync == VerifyOff {
		return true
	}
	var refs []fsm.CheckpointRef
	n.machine.Read(func(s *fsm.State) { refs = s.Checkpoints() })
	return slices.ContainsFunc(refs, func(r fsm.CheckpointRef) bool { return r.Seal.Manifest == manifest && r.Verified() })
}

// handOver drains the active and transfers leadership, to any member if none is
// named: which one is asked before, since one may have been cut off since it was
// last heard of. If the transfer fails intake opens again. It reports whether
// leadership has moved.
func (g *Group) handOver(ctx context.Context, n *node, a *activation, to string) (bool, error) {
	if err := a.drain(ctx); err != nil {
		return false, err
	}
	if to != "" {
		var notice plannedNotice
		err := a.do(ctx, func() {
			tip := a.host.Tip()
			notice = plannedNotice{From: g.cfg.Member, Term: a.term, Anchor: chain.Anchor{Link: tip.Head.Hash, Seq: tip.Head.Seq(), Root: tip.Root()}}
		})
		if err == nil {
			notice.Release, err = chain.SignRelease(g.cfg.Keys.Log, g.id.Origin, notice.Anchor, notice.Term, to)
		}
		if err == nil {
			told, cancel := context.WithTimeout(ctx, 2*time.Second) // nothing is served meanwhile
			err = g.peers.plan(told, to, &notice)
			cancel()
		}
		if err != nil {
			a.undrain()
			return false, &RefusedError{Reason: fmt.Sprintf("%s could not be told: %v", to, err)}
		}
	}
	err := within(ctx, g.cfg.Election+2*time.Second, func() error {
		if to == "" {
			return n.heard(n.raft.LeadershipTransfer())
		}
		return n.heard(n.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)))
	})
	if err == nil {
		return true, nil
	}
	if n.raft.State() != raft.Leader {
		return true, nil
	}
	// A transfer that did not end in success may leave Raft refusing every
	// write for ever: this instance must not be active again.
	n.log.Warn("leadership transfer failed; raft is restarted", "to", to, "err", err)
	n.cancel(errRestart)
	return false, &UncertainError{Reason: fmt.Sprintf("the leadership transfer failed (%v), and this member restarts its part in the group", err), Remedy: "see status for who is active"}
}

// drain shuts the intake and waits until nothing is in flight. What is queued,
// queries too, stays queued and is answered with where to go once the role has moved.
func (a *activation) drain(ctx context.Context) error {
	err := a.do(ctx, func() { a.drained = true })
	if err == nil {
		err = a.daemon(ctx, "the start of a drain", func(h *host.Host) { h.Control(host.DrainStart{Grace: time.Second}) })
	}
	for err == nil {
		idle := false
		if err = a.do(ctx, func() { idle = a.inflight == 0 && len(a.backlog) == 0 && len(a.queries) == 0 }); err != nil || idle {
			break
		}
		select {
		case <-time.After(200 * time.Microsecond):
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		a.undrain()
	}
	return err
}

func (a *activation) undrain() {
	a.do(a.ctx, func() { a.drained = false })
	a.daemon(a.ctx, "the end of a drain", func(h *host.Host) { h.Control(host.DrainFinish{}) })
}

// StepDown gives the active role to any standby; if none may take it over it is
// refused. This member does not take it back within hold.
func (g *Group) StepDown(ctx context.Context, hold time.Duration) error {
	a, err := g.activation()
	if err != nil {
		return err
	}
	if len(g.voters()) < 2 {
		return &RefusedError{Reason: "there is no other member to take over"}
	}
	to, err := g.target(ctx, "")
	if err != nil {
		return err
	}
	g.hold.Store(time.Now().Add(hold).UnixNano())
	if _, err := g.handOver(ctx, a.n, a, to); err != nil {
		if !errors.Is(err, ErrUncertain) {
			g.hold.Store(0)
		}
		return err
	}
	return nil
}
