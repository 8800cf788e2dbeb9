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
		n.g.acquit(r)
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

// Apply is watched: it waits for the archive, which writes files, when that is
// far behind.
func (m *machineFSM) Apply(l *raft.Log) any {
	m.n.applying.begin()
	defer m.n.applying.end()
	m.n.bytes.Add(int64(len(l.Data)))
	r := m.Machine.Apply(l)
	m.n.pace(r.(*fsm.Result), len(l.Data))
	return r
}

// pace asks for a checkpoint when a quarter of a long journal came since the
// newest one. The journal reaches back to the checkpoint before the floor's,
// and grows while the next one is made and verified.
func (n *node) pace(r *fsm.Result, size int) {
	switch {
	case r.Kind == fsm.SealEntry && len(r.Links) > 0:
		n.since.sealed(r)
	case len(r.Links) > 0:
		n.since.steps += len(r.Steps)
		n.since.bytes += size
	}
	if cfg := &n.g.cfg; n.since.steps >= cfg.MaxJournalSteps/4 || n.since.bytes >= cfg.MaxJournalBytes/4 {
		select {
		case n.due <- struct{}{}:
		default:
		}
	}
}

// pace is what the journal has after the position that the newest seal covers.
type pace struct{ steps, bytes int }

// sealed keeps what came while the checkpoint was written.
func (p *pace) sealed(r *fsm.Result) {
	s, err := chain.ParseSeal(r.Record)
	if err != nil || p.steps == 0 {
		*p = pace{}
		return
	}
	left := min(int(r.Head.Link.Inputs-s.Inputs), p.steps)
	*p = pace{left, int(int64(p.bytes) * int64(left) / int64(p.steps))}
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
	if err := s.n.g.archive.settle(); err != nil {
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
