package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
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
	s, err := harden(l, st, sn, g, nil)
	if err != nil {
		g.close()
	}
	return s, err
}

func harden(l raft.LogStore, st raft.StableStore, sn raft.SnapshotStore, g *guard, seal func(string) error) (*Stores, error) {
	logs := &logStore{LogStore: l, g: g}
	stable := &stableStore{inner: st, g: g}
	snaps := &snapshotStore{SnapshotStore: sn, g: g, log: logs, seal: seal}
	edge, err := snaps.newest()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(stable.scan(), logs.scan(edge)); err != nil {
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
	if err := os.MkdirAll(filepath.Join(dir, "digests"), 0o700); err != nil {
		return nil, err
	}
	alone, err := lock(dir)
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
	if err := checkSnapshots(dir); err != nil {
		return nil, err
	}
	fs := durable.OS(dir)
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
	s, err := harden(b.log, b.stable, snaps, g, func(id string) error { return sealSnapshot(dir, id) })
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

// checkSnapshots compares every snapshot with its digest. One without was not
// completed, Raft has not relied on it, and it is removed.
func checkSnapshots(dir string) error {
	fs := durable.OS(dir)
	names, err := fs.List("snapshots")
	if err != nil {
		return err
	}
	for _, id := range names {
		_, err := os.Stat(filepath.Join(dir, "digests", id))
		if strings.HasSuffix(id, ".tmp") || errors.Is(err, os.ErrNotExist) {
			if err := fs.RemoveAll("snapshots/" + id); err != nil {
				return err
			}
			continue
		}
		want, err := durable.ReadSealed(fs, "digests/"+id, 32)
		if err != nil {
			return &DamageError{"digests/" + id, err.Error()}
		}
		got, err := snapshotDigest(dir, id)
		if err != nil || string(want) != string(got[:]) {
			return &DamageError{"snapshots/" + id, fmt.Sprintf("it does not match its digest (%v)", err)}
		}
	}
	digests, err := fs.List("digests")
	if err != nil {
		return err
	}
	newest := ""
	for _, id := range digests {
		if _, err := os.Stat(filepath.Join(dir, "snapshots", id)); err != nil {
			if newest = id; len(names) == 0 {
				return &DamageError{"snapshots/" + newest, "it is gone"}
			}
			if err := fs.Remove("digests/" + id); err != nil { // reaped by Raft
				return err
			}
		}
	}
	return nil
}

func sealSnapshot(dir, id string) error {
	d, err := snapshotDigest(dir, id)
	if err != nil {
		return err
	}
	return durable.WriteSealed(durable.OS(dir), "digests/"+id, d[:])
}

func snapshotDigest(dir, id string) (d chain.Hash, err error) {
	h := chain.NewHasher("raft snapshot")
	for _, name := range []string{"meta.json", "state.bin"} {
		f, err := os.Open(filepath.Join(dir, "snapshots", id, name))
		if err != nil {
			return d, err
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return d, err
		}
		h.Write([]byte{0})
	}
	return h.Hash(), nil
}
