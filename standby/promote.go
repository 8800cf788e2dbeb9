package standby

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// serve is the whole stay of a Raft leader: it promotes this member and serves
// until the role ends. It returns why it ended; the caller gives leadership up.
func (n *node) serve(ctx context.Context) error {
	start := time.Now()
	term := n.raft.CurrentTerm()
	if err := n.mayLead(); err != nil {
		return &notAllowedError{err}
	}
	p := &promotion{n: n, term: term, phases: n.timing.phases(start)}
	h, err := p.run(ctx)
	if err != nil {
		n.replica.give(h) // a replayed host is kept when leadership moves
		if errors.Is(err, errReplay) && ctx.Err() == nil {
			err = fmt.Errorf("this member's daemon does not replay the group's history and is quarantined until its restart: %w", err)
			n.g.quarantine.Store(&err)
		}
		n.setRole(RoleStandby, "", "promotion failed: "+err.Error())
		return fmt.Errorf("promotion failed: %w", err)
	}
	a := newActivation(n, term, h)
	a.ordinal = 0
	stop := context.AfterFunc(ctx, func() { a.end(context.Cause(ctx)) })
	defer stop()
	n.goFunc(a.acker)
	err = p.confirm(a)
	if err == nil {
		err = p.hear(a)
	}
	if err != nil {
		a.loopless()
		n.replica.give(h)
		n.setRole(RoleStandby, "", "promotion not confirmed: "+err.Error())
		return fmt.Errorf("promotion not confirmed: %w", err)
	}
	n.g.notePromotion(term, p.phases, true)
	if err := a.leash.run(func() { h.Control(host.Activated{Term: term}) }); err != nil {
		n.g.leftBehind("its activation", err)
		a.loopless()
		n.replica.release()
		n.setRole(RoleStandby, "", "promotion failed: "+err.Error())
		return fmt.Errorf("promotion failed: %w", err)
	}
	n.active.Store(a) // first: who reads the role may call this member at once
	n.setRole(RoleActive, "", "")
	n.log.Info("active", "member", n.g.cfg.Member, "term", term, "head", h.Head().Seq(), "replayed", p.replayed)
	n.goFunc(a.seals)
	n.goFunc(a.supervise)
	a.loop()
	n.active.Store(nil)
	if a.drained && !a.lost {
		n.replica.give(a.host) // everything that it processed is committed
	} else {
		n.replica.release()
	}
	n.stepBack()
	return context.Cause(a.ctx)
}

// loopless ends an activation whose loop never ran.
func (a *activation) loopless() {
	a.end(errRoleEnd)
	a.abandon()
}

// notAllowedError: nothing was done in this term.
type notAllowedError struct{ error }

func (e *notAllowedError) Unwrap() error { return e.error }

// mayLead refuses the active role to members that must not have it. One that
// only recovers serves if no other member may: it is well now, or it could not
// have been elected, and it is better than nobody.
func (n *node) mayLead() error {
	var diverged error
	n.machine.Read(func(s *fsm.State) { diverged = s.Diverged() })
	if diverged != nil {
		return fmt.Errorf("this member has diverged: %w", diverged)
	}
	err := n.g.eligible()
	if errors.Is(err, errRecovers) && n.g.successor() == "" {
		return nil
	}
	return err
}

// promotion carries one member from Raft leader to active.
type promotion struct {
	n        *node
	term     uint64
	phases   map[string]float64
	started  time.Time
	handoff  chain.Head // the HANDOFF link
	replayed uint64
}

func (p *promotion) phase(name string) {
	p.n.setRole(RolePromoting, name, "")
	p.started = time.Now()
}

func (p *promotion) ended(name string) {
	p.phases[name] += float64(time.Since(p.started).Microseconds()) / 1000
}

// run goes through barrier, restore, replay and fence. The host it returns is
// at the HANDOFF link, or with an error at some committed position, or nil.
func (p *promotion) run(ctx context.Context) (*host.Host, error) {
	n := p.n
	p.phase(PhaseBarrier)
	if err := within(ctx, n.g.cfg.BarrierTimeout, func() error { return n.raft.Barrier(n.g.cfg.BarrierTimeout).Error() }); err != nil {
		return nil, fmt.Errorf("barrier: %w", err)
	}
	if n.raft.CurrentTerm() != p.term {
		return nil, errors.New("barrier: the term moved on")
	}
	p.ended(PhaseBarrier)

	p.phase(PhaseRestore)
	type builtHost struct {
		h    *host.Host
		from built
	}
	warm := n.replica.take(ctx)
	got, err := watched(ctx, n.g.cfg.PromotionStall, n.replica.progress.Load, func(ctx context.Context) (builtHost, error) {
		h, from, err := n.buildHost(ctx, warm)
		return builtHost{h, from}, err
	})
	if errors.Is(err, errHung) {
		n.g.leftBehind("a replay", err)
	}
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	h, from := got.h, got.from
	p.replayed = from.replayed
	p.ended(PhaseRestore)
	p.phases[PhaseRestore] -= from.replayMillis
	p.phases[PhaseReplay] = from.replayMillis

	p.phase(PhaseFence)
	if err := p.fence(ctx, h, from); err != nil {
		return h, fmt.Errorf("fence: %w", err)
	}
	p.ended(PhaseFence)
	return h, nil
}

// fence proposes the HANDOFF link, anchored on the committed head, and moves
// the host onto it once this member's own state machine has accepted it.
func (p *promotion) fence(ctx context.Context, h *host.Host, from built) error {
	n := p.n
	tip := h.Tip()
	rec := chain.Handoff{
		Term: p.term, Seq: tip.Head.Size(), RaftIndex: n.raft.AppliedIndex(), Time: n.g.now(),
		Member: n.g.cfg.Member, CheckpointSeq: from.checkpoint, Replayed: from.replayed,
		Anchor: chain.Anchor{Link: tip.Head.Hash, Seq: tip.Head.Seq(), Root: tip.Root()},
	}
	n.machine.Read(func(s *fsm.State) {
		var old chain.Handoff
		rec.OldMember, old, rec.PrevHandoff = s.Active()
		rec.OldTerm = old.Term
		roster := s.Roster()
		rec.Roster = roster.Digest()
	})
	rec.Reason = chain.ReasonActiveFailed
	if rec.OldMember == "" {
		rec.Reason = chain.ReasonFirst
	}
	if pl := n.planned.Swap(nil); pl != nil && pl.fits(&rec) {
		rec.Reason, rec.Release = chain.ReasonPlanned, pl.Release
	}
	if err := rec.Sign(n.g.cfg.Keys.Log); err != nil {
		return err
	}
	data := rec.Marshal()
	link := tip.Next(chain.Draft{Kind: chain.KindHandoff, Term: p.term, Time: rec.Time, Input: chain.RecordDigest(chain.KindHandoff, data)})
	e := fsm.Entry{Kind: fsm.HandoffEntry, Term: p.term, First: link.Seq, Record: data, Time: link.Time, Last: link.Hash()}
	var res *fsm.Result
	err := within(ctx, n.g.cfg.BarrierTimeout, func() error {
		f := n.raft.Apply(e.Marshal(nil), n.g.cfg.BarrierTimeout)
		if err := f.Error(); err != nil {
			return err
		}
		res, _ = f.Response().(*fsm.Result)
		return nil
	})
	switch {
	case err != nil:
		return err
	case res == nil:
		return errors.New("the state machine gave no answer")
	case res.Status != fsm.Accepted:
		return fmt.Errorf("the state machine refused the handoff: %w", res.Err)
	}
	p.handoff = chain.Head{Link: link, Hash: e.Last}
	return h.Advance(&link)
}

// confirm waits until a majority, this member included, reports the HANDOFF
// link as part of its history. A no-op entry goes first, so that the others
// learn of the commit at once. A forked log would be noticed here, before
// anything is served on it.
func (p *promotion) confirm(a *activation) error {
	n := p.n
	p.phase(PhaseActive)
	noop := fsm.Entry{Kind: fsm.NoopEntry, Term: p.term}
	n.raft.Apply(noop.Marshal(nil), n.g.cfg.BarrierTimeout)
	ctx, cancel := context.WithTimeout(a.ctx, n.g.cfg.BarrierTimeout)
	defer cancel()
	voters := n.g.voters()
	reports := make(chan error, len(voters))
	for _, m := range voters {
		if m == n.g.cfg.Member {
			reports <- nil
			continue
		}
		go func() {
			for {
				pos, err := n.g.peers.position(ctx, m, p.handoff.Link.Seq, n.g.cfg.BarrierTimeout)
				if err == nil {
					n.g.told.put(m, pos.Deaths)
				}
				// Without the link's hash it says nothing: its archive is being healed.
				if err == nil && pos.Seq >= p.handoff.Link.Seq && !pos.At.IsZero() {
					if pos.At != p.handoff.Hash {
						err = fmt.Errorf("member %s has another link at seq %d: %w", m, p.handoff.Link.Seq, errForked)
					}
					reports <- err
					return
				}
				select {
				case <-ctx.Done():
					reports <- fmt.Errorf("member %s: %w", m, errors.Join(err, ctx.Err()))
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}()
	}
	need := len(voters)/2 + 1
	var bad []error
	for range voters {
		err := <-reports
		if errors.Is(err, errForked) {
			return err
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if need--; need == 0 {
			p.ended(PhaseActive)
			return nil
		}
	}
	return fmt.Errorf("no majority reports the new head: %w", errors.Join(bad...))
}

// errForked: two members hold different links at one position. Nothing may be served.
var errForked = errors.New("histories differ")
