package raftstore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/durable"
)

// snapshotStore tells the log of every snapshot that is complete, and has a
// mark set for it.
type snapshotStore struct {
	raft.SnapshotStore
	g   *guard
	log *logStore
	dir string // with the digests; "" in memory
}

func (s *snapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{SnapshotSink: sink, s: s, at: boundary{index, term}}, nil
}

// syncEvery is how much of a snapshot becomes durable with one fsync. All of it
// at its end would hold up the log's writes for as long as it takes, and look
// like a disk that stalls.
const syncEvery = 4 << 20

// closePatience is for what the end of a snapshot does besides: its directory is
// moved, and the oldest snapshot removed.
const closePatience = 10 * time.Second

type snapshotSink struct {
	raft.SnapshotSink
	s     *snapshotStore
	at    boundary
	done  bool
	state *os.File // what the sink writes, to sync it
	dirty int      // bytes since
}

func (k *snapshotSink) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var m int
		m, err = k.SnapshotSink.Write(b[:min(len(b), syncEvery-k.dirty)])
		n, b, k.dirty = n+m, b[m:], k.dirty+m
		k.s.g.o.Written.Add(uint64(m))
		if err == nil && k.dirty >= syncEvery {
			err = k.sync()
		}
	}
	return n, err
}

// sync makes durable what was written so far, but for what the sink buffers.
func (k *snapshotSink) sync() error {
	k.dirty = 0
	if k.s.dir == "" {
		return nil
	}
	return k.s.g.write("sync a snapshot", func() (err error) {
		if k.state == nil {
			if k.state, err = os.Open(filepath.Join(k.s.dir, "snapshots", k.ID()+".tmp", "state.bin")); err != nil {
				return err
			}
		}
		return k.state.Sync()
	})
}

func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	if err := k.sync(); err != nil {
		return errors.Join(err, k.cancel())
	}
	k.state.Close()
	if err := k.s.g.slow("complete a snapshot", closePatience, k.SnapshotSink.Close); err != nil {
		return err
	}
	if err := k.s.seal(k.ID()); err != nil {
		return err
	}
	return k.s.g.write("go on from a snapshot", func() error { return k.s.log.snapshotTaken(k.at.index, k.at.term) })
}

func (k *snapshotSink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	return k.cancel()
}

// cancel leaves nothing. Raft's sink does on a full disk: it cannot write what it
// buffers, and gives up with its file open.
func (k *snapshotSink) cancel() error {
	k.state.Close()
	err := k.SnapshotSink.Cancel()
	if k.s.dir == "" {
		return err
	}
	left := filepath.Join(k.s.dir, "snapshots", k.ID()+".tmp")
	os.Truncate(filepath.Join(left, "state.bin"), 0) // else the room comes back when the file is closed
	return errors.Join(err, os.RemoveAll(left))
}

// newest is the boundary of the newest snapshot, zero if there is none.
func (s *snapshotStore) newest() (boundary, error) {
	metas, err := s.List()
	if err != nil || len(metas) == 0 {
		return boundary{}, err
	}
	_, r, err := s.Open(metas[0].ID)
	if err != nil {
		return boundary{}, &DamageError{"snapshot " + metas[0].ID, err.Error()}
	}
	_, err = io.Copy(io.Discard, r)
	return boundary{metas[0].Index, metas[0].Term}, errors.Join(err, r.Close())
}

// seal makes the digest of a complete snapshot, says that it is there, and removes
// the digests of those that Raft has removed for it. To read the snapshot takes as
// long as it is large, and is no write.
func (s *snapshotStore) seal(id string) error {
	if s.dir == "" {
		return nil
	}
	d, err := snapshotDigest(s.dir, id)
	return s.g.write("seal a snapshot", func() error {
		if err != nil {
			return err
		}
		fs := durable.OS(s.dir)
		if err := fs.SyncDir("snapshots/" + id); err != nil { // Raft syncs the files in it, and the name of it
			return err
		}
		if err := durable.WriteSealed(fs, "digests/"+id, d[:]); err != nil {
			return err
		}
		if err := writeNewest(fs, id); err != nil {
			return err
		}
		return removeReaped(fs)
	})
}
