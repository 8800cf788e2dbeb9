package standby

import (
	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
)

// applied is called by the state machine's goroutine after each entry, on
// every member. It must not wait for anything.
func (n *node) applied(r *fsm.Result) {
	switch r.Status {
	case fsm.Accepted:
		n.g.archive.apply(r)
		cfg := &n.g.cfg
		n.full.Store(r.JournalSteps > 2*cfg.MaxJournalSteps || r.JournalBytes > cfg.MaxJournalBytes/3*4)
	case fsm.Diverged, fsm.Unreadable:
		n.log.Error("this member's history differs from the group's; it stops taking part", "index", r.Index, "err", r.Err)
		n.setRole(RoleFailed, "", "diverged: "+r.Err.Error())
	}
	n.g.changed.notify()
}

func (n *node) journalFull() bool { return n.full.Load() }

// journalLong says that the journal is over the length that forces a checkpoint.
func (n *node) journalLong(s *fsm.State) bool {
	steps, bytes := s.JournalSize()
	return steps > n.g.cfg.MaxJournalSteps || bytes > n.g.cfg.MaxJournalBytes
}

// machineFSM adds to the state machine what must happen around Raft snapshots.
type machineFSM struct {
	*fsm.Machine
	n *node
}

// Apply is watched: the archive writes files.
func (m *machineFSM) Apply(l *raft.Log) any {
	m.n.applying.begin()
	defer m.n.applying.end()
	return m.Machine.Apply(l)
}

// Snapshot makes the archive durable before Raft lets go of the entries under it.
func (m *machineFSM) Snapshot() (raft.FSMSnapshot, error) {
	s, err := m.Machine.Snapshot()
	if err != nil {
		return nil, err
	}
	return &machineSnapshot{s, m.n}, nil
}

type machineSnapshot struct {
	raft.FSMSnapshot
	n *node
}

func (s *machineSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.n.g.archive.sync(); err != nil {
		sink.Cancel()
		return err
	}
	return s.FSMSnapshot.Persist(sink)
}

// restored fits the archive to the state at the start and after a Raft snapshot.
func (n *node) restored(s *fsm.State) {
	tip := s.Tip()
	n.g.archive.reset(&tip)
	n.g.changed.notify()
}

// head is the newest committed position that this member knows.
func (n *node) head() (h chain.Head) {
	n.machine.Read(func(s *fsm.State) { h = s.Head() })
	return h
}
