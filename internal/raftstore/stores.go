package raftstore

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/durable"
)

// Stores is what Raft is given.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	g         *guard
	close     closers
}

// Started says that Raft runs: from now on a term that cannot be stored ends
// Raft's main goroutine instead of the process.
func (s *Stores) Started() {
	if st, ok := s.Stable.(*stableStore); ok {
		st.running.Store(true)
	}
}

// Close closes the files. Nothing may be running on the stores any more.
func (s *Stores) Close() error {
	s.g.close()
	return s.close.Close()
}

// Stalled is the age of the oldest write that has not returned, 0 if none.
func (s *Stores) Stalled() time.Duration { return s.g.stalled() }

// Harden puts the wrappers around any stores and checks what is in them.
func Harden(l raft.LogStore, st raft.StableStore, sn raft.SnapshotStore, o Options) (*Stores, error) {
	g := newGuard(o)
	s, err := harden(l, st, sn, g, "")
	if err != nil {
		g.close()
	}
	return s, err
}

func harden(l raft.LogStore, st raft.StableStore, sn raft.SnapshotStore, g *guard, dir string) (*Stores, error) {
	logs := &logStore{LogStore: l, g: g}
	stable := &stableStore{inner: st, g: g}
	snaps := &snapshotStore{SnapshotStore: sn, g: g, log: logs, dir: dir}
	edge, err := snaps.newest()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stable.scan(), logs.scan(edge)); err != nil {
		return nil, err
	}
	if err := stable.covers(logs, edge); err != nil {
		return nil, err
	}
	if edge.index > 0 {
		if err := logs.snapshotTaken(edge.index, edge.term); err != nil {
			return nil, err
		}
	}
	return &Stores{Log: logs, Stable: stable, Snapshots: snaps, g: g}, nil
}

// retain is how many snapshots are kept.
const retain = 3

// Open opens or makes the stores in a directory: the log and the votes,
// snapshots/ and digests/. Damage is found before anything is used.
func Open(dir string, o Options) (*Stores, error) {
	fs := durable.OS(dir)
	for _, d := range []string{"digests", "snapshots"} {
		if err := fs.MkdirAll(d); err != nil {
			return nil, err
		}
	}
	alone, err := durable.Lock(dir)
	if err != nil {
		return nil, err
	}
	s, err := openIn(dir, o)
	if err != nil {
		return nil, errors.Join(err, alone.Close())
	}
	s.close = append(s.close, alone)
	return s, nil
}

func openIn(dir string, o Options) (*Stores, error) {
	fs := durable.OS(dir)
	for _, d := range []string{"snapshots", "digests", "."} { // names that a killed process left in memory count from now on
		if err := fs.SyncDir(d); err != nil {
			return nil, err
		}
	}
	if err := checkSnapshots(dir); err != nil {
		return nil, err
	}
	old, err := aside(fs)
	if err != nil {
		return nil, err
	}
	b, err := openKind(dir, o)
	if err != nil {
		return nil, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, retain, hclog.NewNullLogger())
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	g := newGuard(o)
	g.syncs = b.syncs
	s, err := harden(b.log, b.stable, snaps, g, dir)
	if err != nil {
		g.close()
		return nil, errors.Join(err, b.Close())
	}
	s.close = closers{b}
	for _, n := range old {
		if err := fs.RemoveAll(n); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}
