package raftstore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/raftlog"
	"github.com/understudy-ha/understudy/internal/raftstore/boltcheck"
)

// Kind is what keeps the log and the votes on disk.
type Kind string

// The kinds. File is package raftlog's.
const (
	Bolt Kind = "boltdb"
	File Kind = "file"
)

// Default is the faster one: see docs/architecture.md for the measurement.
const Default = File

// path is what a store of the kind has in the directory.
func (k Kind) path() string { return map[Kind]string{Bolt: "raft.db", File: "log"}[k] }

func (k Kind) other() Kind {
	if k == Bolt {
		return File
	}
	return Bolt
}

// backend is a store without the wrappers.
type backend struct {
	log    raft.LogStore
	stable raft.StableStore
	io.Closer
	syncs uint64 // fsyncs that one write makes
}

type closers []io.Closer

func (c closers) Close() error {
	var err error
	for _, x := range c {
		err = errors.Join(err, x.Close())
	}
	return err
}

// open opens a store that was made before. What is not there was lost, and the
// votes with it: nothing is made in its place.
func (k Kind) open(dir string, o Options) (*backend, error) {
	path := filepath.Join(dir, k.path())
	if k == Bolt {
		if err := checkBolt(path); err != nil {
			return nil, err
		}
		return openBolt(path)
	}
	return openFile(path, raftlog.Options{SegmentBytes: o.SegmentBytes, Existing: true}, o.Written)
}

// create makes an empty store at a path where none is.
func (k Kind) create(path string, o Options) (*backend, error) {
	if k == Bolt {
		return openBolt(path)
	}
	return openFile(path, raftlog.Options{SegmentBytes: o.SegmentBytes}, o.Written)
}

func openFile(path string, o raftlog.Options, written *atomic.Uint64) (*backend, error) {
	fs := durable.OS(path)
	if written != nil {
		fs = durable.Count(fs, nil, written)
	}
	l, err := raftlog.Open(fs, o)
	if err != nil {
		return nil, asDamage(path, err)
	}
	s, err := raftlog.OpenStable(fs, "stable", o)
	if err != nil {
		return nil, errors.Join(asDamage(path, err), l.Close())
	}
	return &backend{l, s, closers{l, s}, 1}, nil
}

func asDamage(path string, err error) error {
	if errors.Is(err, durable.ErrDamaged) || errors.Is(err, durable.ErrTooLarge) {
		return &DamageError{path, err.Error()}
	}
	return err
}

func openBolt(path string) (*backend, error) {
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
		Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 30,
	}})
	if err != nil {
		return nil, err
	}
	return &backend{db, db, db, 2}, nil // the pages, then the page that names them
}

// checkBolt checks a database with plain reads before it is mapped.
func checkBolt(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return &DamageError{path, "it is gone"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := boltcheck.Check(f, st.Size()); err != nil {
		return &DamageError{path, err.Error()}
	}
	return nil
}
