package standby

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// electionTimes notes when this member last heard its leader, stood for
// election and won, so that a promotion can say where its time went.
type electionTimes struct {
	mu        sync.Mutex
	contact   time.Time
	candidate time.Time
	leader    time.Time
}

// observe follows Raft's role changes. The observer never blocks Raft.
func (n *node) observe() {
	ch := make(chan raft.Observation, 16)
	o := raft.NewObserver(ch, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	if _, leader := n.raft.LeaderWithID(); leader != "" {
		n.joined() // Raft was faster than the observer
	}
	for {
		select {
		case ob := <-ch:
			if s, ok := ob.Data.(raft.RaftState); ok {
				n.timing.note(s, n.raft.LastContact())
			}
			leader, ok := ob.Data.(raft.LeaderObservation)
			if ok && leader.LeaderID == "" {
				continue
			}
			n.joined()
		case <-n.ctx.Done():
			return
		}
	}
}

// joined ends the start: this member has heard of the group.
func (n *node) joined() {
	if r := n.role.Load(); r.role == RoleJoining && n.role.CompareAndSwap(r, &roleState{role: RoleStandby, since: time.Now()}) {
		n.g.changed.notify()
	}
}

func (t *electionTimes) note(s raft.RaftState, contact time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch s {
	case raft.Candidate:
		if t.candidate.Before(t.leader) || t.candidate.IsZero() || t.candidate.Before(contact) {
			t.candidate, t.contact = time.Now(), contact
		}
	case raft.Leader:
		t.leader = time.Now()
	}
}

// phases begins a promotion's times with detect (silence until this member
// stood for election) and elect (until it won).
func (t *electionTimes) phases(won time.Time) map[string]float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[string]float64)
	if !t.candidate.IsZero() && t.candidate.Before(won) {
		m["elect"] = millis(won.Sub(t.candidate))
		if !t.contact.IsZero() {
			m["detect"] = max(0, millis(t.candidate.Sub(t.contact)))
		}
	}
	return m
}
