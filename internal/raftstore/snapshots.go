package raftstore

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// snapshotStore tells the log of every snapshot that is complete, and has a
// mark set for it.
type snapshotStore struct {
	raft.SnapshotStore
	g    *guard
	log  *logStore
	seal func(id string) error // makes the digest of a complete snapshot; nil in memory
}

func (s *snapshotStore) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{SnapshotSink: sink, s: s, at: boundary{index, term}}, nil
}

type snapshotSink struct {
	raft.SnapshotSink
	s    *snapshotStore
	at   boundary
	done bool
}

func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	return k.s.g.write("complete a snapshot", func() error {
		if err := k.SnapshotSink.Close(); err != nil {
			return err
		}
		if k.s.seal != nil {
			if err := k.s.seal(k.ID()); err != nil {
				return err
			}
		}
		return k.s.log.snapshotTaken(k.at.index, k.at.term)
	})
}

func (k *snapshotSink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	return k.SnapshotSink.Cancel()
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
