package standby

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// eligible says why this member may not be active, or nil.
func (g *Group) eligible() error {
	if q := g.quarantine.Load(); q != nil {
		return *q
	}
	if err := g.recovering(); err != nil {
		return err
	}
	if left := time.Until(time.Unix(0, g.hold.Load())); left > 0 {
		return fmt.Errorf("%s stepped down and holds back for another %v", g.cfg.Member, left.Round(time.Millisecond))
	}
	if g.cfg.NeverActive {
		return fmt.Errorf("%s is configured never to be active", g.cfg.Member)
	}
	if err := g.skewed(); err != nil {
		return err
	}
	if err := g.barred(); err != nil {
		return err
	}
	if r, ok := g.cfg.New().(host.Requirer); ok {
		if met, missing := r.Requirements().MetBy(g.cfg.Capabilities); !met {
			return fmt.Errorf("%s lacks %v, which the daemon requires", g.cfg.Member, missing)
		}
	}
	return nil
}

// roleNow is what this member does, or that it takes no part for good, whatever
// role it had since: it says the same to its own callers and to the other members.
func (g *Group) roleNow(n *node, diverged error) roleState {
	r := *n.role.Load()
	switch q := g.quarantine.Load(); {
	case diverged != nil:
		r.role, r.phase, r.reason = RoleFailed, "", diverged.Error()
	case q != nil && r.role == RoleStandby:
		r.role, r.reason = RoleFailed, (*q).Error()
	}
	return r
}

// position is what this member says of itself, with the hash of the link at
// seq if it has come so far.
func (g *Group) position(seq uint64) *position {
	pos := &position{Member: g.cfg.Member, Role: RoleJoining, Version: g.cfg.Version, Now: g.now(), Health: "healthy", Deaths: g.poison.Deaths()}
	n := g.node.Load()
	if n == nil {
		return pos
	}
	var head chain.Head
	var diverged error
	n.machine.Read(func(s *fsm.State) {
		head, diverged = s.Head(), s.Diverged()
		pos.Applied, _ = s.Applied()
	})
	r := g.roleNow(n, diverged)
	pos.Role, pos.Phase, pos.Reason = r.role, r.phase, r.reason
	pos.Term, pos.Seq, pos.Head = head.Link.Term, head.Seq(), head.Hash
	pos.Restored, pos.HostInput = n.replica.restoredSeq.Load(), n.replica.hostSeq.Load()
	switch {
	case seq == head.Seq():
		pos.At = head.Hash
	case seq < head.Seq():
		g.archive.reach(seq + 1)
		if l, err := g.hist.Link(seq); err == nil {
			pos.At = l.Hash()
		}
	}
	err := g.eligible()
	if diverged != nil {
		err = diverged
	}
	pos.Eligible = err == nil
	if err != nil {
		pos.Reason = err.Error()
	} else if t := n.replica.trouble.Load(); t != nil && pos.Role == RoleStandby {
		pos.Reason = *t
	}
	g.notes.mu.Lock()
	defer g.notes.mu.Unlock()
	pos.Health, pos.Saturation = g.notes.health.String(), g.notes.load
	pos.Promotion, pos.Phases = g.notes.newest, g.notes.phases[g.notes.newest]
	return pos
}

// Status is what this member knows of the group now.
func (g *Group) Status() Status {
	st := Status{Group: g.id.Group, Origin: g.id.Origin, Member: g.cfg.Member, Role: RoleJoining}
	st.IO = IO{g.syncs.Load(), g.written.Load(), g.traffic.Sent.Load(), g.traffic.Received.Load()}
	n := g.node.Load()
	if n == nil {
		return st
	}
	var handoff chain.Handoff
	var refs []fsm.CheckpointRef
	var head chain.Head
	var diverged error
	n.machine.Read(func(s *fsm.State) {
		head, refs, diverged = s.Head(), s.Checkpoints(), s.Diverged()
		_, handoff, _ = s.Active()
		st.Floor = s.Floor()
		st.JournalSteps, st.JournalBytes = s.JournalSize()
	})
	r := g.roleNow(n, diverged)
	st.Role, st.Phase, st.Reason = r.role, r.phase, r.reason
	st.Term, st.Seq, st.Head = head.Link.Term, head.Seq(), head.Hash
	st.Inputs, st.Outputs = head.Link.Inputs, head.Link.Outputs
	st.Daemon = g.daemonName()
	if a := n.active.Load(); a != nil {
		st.Active, st.ActiveSince, st.Queue = g.cfg.Member, a.since, int(a.intake.events.Load())
	} else if st.Active = n.known(); st.Active != "" {
		st.ActiveSince = time.Unix(0, handoff.Time)
	}
	for _, m := range g.cfg.Founding.Roster.Members {
		row := g.row(m.Name, head, refs, st.Active)
		row.Address = g.cfg.Peers[m.Name]
		if m.Flags&chain.Voter != 0 {
			st.Quorum.Voters++
			if row.State != "unreachable" {
				st.Quorum.Healthy++
			}
		}
		st.Members = append(st.Members, row)
	}
	st.Notes = g.footers(&st)
	return st
}

// known is the active that this member knows of and serves or follows; empty if none.
func (n *node) known() string {
	if n.active.Load() != nil {
		return n.g.cfg.Member
	}
	var handoff chain.Handoff
	n.machine.Read(func(s *fsm.State) { _, handoff, _ = s.Active() })
	// Its handoff is committed in the term in which it leads: before, it promotes.
	if leader, self := n.g.Active(); !self && leader == handoff.Member && n.raft.CurrentTerm() == handoff.Term {
		return leader
	}
	return ""
}

// AwaitActive waits until this member knows an active, itself or another, or
// ctx ends. Who asks it of all members learns of a takeover when it happens.
func (g *Group) AwaitActive(ctx context.Context) {
	for {
		changed := g.changed.wait()
		if n := g.node.Load(); n != nil && n.known() != "" {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *Group) daemonName() string { return g.cfg.New().Name() }

// row is one member's line of the status table.
func (g *Group) row(name string, head chain.Head, refs []fsm.CheckpointRef, active string) MemberStatus {
	row := MemberStatus{Name: name, TrailEvents: -1, BacklogEvents: -1, CheckpointAge: -1, ContactMillis: -1, RoundTripMillis: -1}
	var pos position
	if name == g.cfg.Member {
		pos, row.ContactMillis = *g.position(0), 0
	} else {
		s, ok := g.seen.get(name)
		if !ok || s.at.IsZero() {
			row.Role, row.State, row.Health, row.Version = "?", "unreachable", "?", "?"
			row.Reason = "no contact yet"
			if ok && s.err != nil {
				row.Reason = s.err.Error()
			}
			return row
		}
		pos, row.ContactMillis = s.pos, time.Since(s.at).Milliseconds()
		row.RoundTripMillis = float64(s.took.Microseconds()) / 1000
		if s.err != nil {
			row.State, row.Reason = "unreachable", s.err.Error()
		}
	}
	if name == active && row.State == "" && pos.Role != RoleActive {
		pos.Role, pos.Phase = RoleActive, "" // it was promoted after it was asked
	}
	row.Role, row.Term, row.Seq, row.Head = pos.Role, pos.Term, pos.Seq, pos.Head
	row.Health, row.Saturation, row.Eligible, row.Version = pos.Health, pos.Saturation, pos.Eligible, pos.Version
	row.TrailEvents = int64(max(head.Seq(), pos.Seq) - pos.Seq)
	row.CheckpointSeq = pos.Restored
	if name == active {
		row.BacklogEvents = 0
		if len(refs) > 0 {
			row.CheckpointSeq = refs[len(refs)-1].Seal.Seq
		}
	} else { // the head was read a moment before
		row.BacklogEvents = int64(max(head.Seq(), pos.Seq, pos.HostInput) - pos.HostInput)
	}
	for i := range refs {
		if refs[i].Seal.Seq == row.CheckpointSeq && refs[i].Time > 0 {
			row.CheckpointAge = max(0, time.Since(time.Unix(0, refs[i].Time)).Milliseconds())
		}
	}
	if row.State == "" {
		row.State, row.Reason = stateWord(&pos), pos.Reason
	}
	return row
}

func stateWord(p *position) string {
	switch p.Role {
	case RoleActive:
		return "serving"
	case RolePromoting:
		return p.Phase
	case RoleFailed:
		return "stopped"
	case RoleJoining:
		return "joining"
	}
	if p.Reason != "" {
		return "degraded"
	}
	return "warm"
}

// footers are the sentences under the table that are true now.
func (g *Group) footers(st *Status) []string {
	var out []string
	if st.Active == "" {
		out = append(out, fmt.Sprintf("no active is known: %d of %d voters answer, %d are needed", st.Quorum.Healthy, st.Quorum.Voters, st.Quorum.Voters/2+1))
	}
	for _, r := range g.net.Refusals() {
		out = append(out, "refused: "+r.String())
	}
	out = append(out, g.deathNotes()...)
	if g.cfg.VerifySync == VerifyOff {
		out = append(out, "verify_sync is off: a snapshot that does not restore faithfully is found only at a failover")
	}
	g.notes.mu.Lock()
	defer g.notes.mu.Unlock()
	if g.notes.reason != "" {
		out = append(out, fmt.Sprintf("%s ago: %s", time.Since(g.notes.at).Round(time.Second), g.notes.reason))
	}
	return out
}

// Watch yields the status now and after each change, at most 20 times a
// second, until ctx ends or the group is closed.
func (g *Group) Watch(ctx context.Context) iter.Seq[Status] {
	return func(yield func(Status) bool) {
		for {
			changed := g.changed.wait()
			if !yield(g.Status()) {
				return
			}
			pause := time.NewTimer(50 * time.Millisecond)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-g.ctx.Done():
				return
			}
		}
	}
}
