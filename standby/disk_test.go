package standby

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/durable"
)

// disk is what of a member survives its process: its files and Raft's stores,
// with the faults that disks have.
type disk struct {
	fs    *durable.Mem
	log   *raftDisk
	snaps *snapDisk

	dead    atomic.Bool                   // the process is gone: nothing reaches the disk any more
	stalled atomic.Pointer[chan struct{}] // Raft's store: closed when it goes on
	failing atomic.Pointer[string]        // operations on what begins with this fail
	life    atomic.Int64                  // operations until the machine dies; 0 for never
}

func newDisk() *disk {
	d := &disk{fs: durable.NewMem()}
	d.fs.Hook = d.at
	d.log = &raftDisk{InmemStore: raft.NewInmemStore(), d: d}
	d.snaps = &snapDisk{d: d}
	return d
}

var (
	errGone = errors.New("the process is gone")
	errIO   = errors.New("input/output error")
)

// at is called before each operation on the disk.
func (d *disk) at(op, name string) error {
	if op != "read" && d.life.Load() > 0 && d.life.Add(-1) == 0 {
		d.dead.Store(true)
	}
	for {
		if d.dead.Load() {
			return errGone
		}
		wait := d.stalled.Load()
		if wait == nil || !strings.HasPrefix(name, "raft") {
			break
		}
		<-*wait
	}
	if what := d.failing.Load(); what != nil && op != "read" && strings.HasPrefix(name, *what) {
		return errIO
	}
	return nil
}

// stall holds every write of Raft's store. Files are not held: they are written
// under mutexes, and virtual time stands still while one is waited for.
func (d *disk) stall() {
	wait := make(chan struct{})
	d.stalled.CompareAndSwap(nil, &wait)
}

// fail makes writes to what begins with the name fail: "raft", or a file.
func (d *disk) fail(what string) { d.failing.Store(&what) }

// repair ends all faults.
func (d *disk) repair() {
	d.life.Store(0)
	d.failing.Store(nil)
	if wait := d.stalled.Swap(nil); wait != nil {
		close(*wait)
	}
}

// raftDisk is Raft's log and stable store. What it has answered is durable,
// unless fsync is off: then a power cut leaves what was there when it was
// switched off.
type raftDisk struct {
	*raft.InmemStore
	d      *disk
	synced *raft.InmemStore // nil while fsync is on
}

func (r *raftDisk) write(what string, op func(*raft.InmemStore) error) error {
	if err := r.d.at("write", "raft "+what); err != nil {
		return err
	}
	return op(r.InmemStore)
}

func (r *raftDisk) fsyncOff() {
	r.synced = raft.NewInmemStore()
	first, _ := r.FirstIndex()
	last, _ := r.LastIndex()
	for i := first; i <= last; i++ {
		l := new(raft.Log)
		if r.GetLog(i, l) == nil {
			r.synced.StoreLog(l)
		}
	}
	for _, k := range []string{"CurrentTerm", "Vote"} {
		if v, err := r.Get([]byte(k)); err == nil {
			r.synced.Set([]byte(k), v)
		}
	}
}

func (r *raftDisk) powerCut() {
	if r.synced != nil {
		r.InmemStore, r.synced = r.synced, nil
	}
}

func (r *raftDisk) StoreLog(l *raft.Log) error { return r.StoreLogs([]*raft.Log{l}) }
func (r *raftDisk) StoreLogs(ls []*raft.Log) error {
	return r.write("log", func(s *raft.InmemStore) error { return s.StoreLogs(ls) })
}

func (r *raftDisk) DeleteRange(min, max uint64) error {
	return r.write("log", func(s *raft.InmemStore) error { return s.DeleteRange(min, max) })
}

func (r *raftDisk) Set(k, v []byte) error {
	k, v = append([]byte(nil), k...), append([]byte(nil), v...)
	return r.write("stable", func(s *raft.InmemStore) error { return s.Set(k, v) })
}

func (r *raftDisk) SetUint64(k []byte, v uint64) error {
	k = append([]byte(nil), k...)
	return r.write("stable", func(s *raft.InmemStore) error { return s.SetUint64(k, v) })
}

// snapDisk keeps the newest complete snapshot. Raft's own one in memory lets an
// unfinished snapshot take the place of a whole one, which files do not.
type snapDisk struct {
	d      *disk
	mu     sync.Mutex
	newest *snapSink
	n      int
}

type snapSink struct {
	bytes.Buffer
	s    *snapDisk
	meta raft.SnapshotMeta
}

func (s *snapDisk) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if err := s.d.at("create", "raft snapshot"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	id := fmt.Sprintf("%d-%d-%d", term, index, s.n)
	return &snapSink{s: s, meta: raft.SnapshotMeta{Version: v, ID: id, Index: index, Term: term, Configuration: c, ConfigurationIndex: ci}}, nil
}

func (s *snapDisk) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil
	}
	m := s.newest.meta
	return []*raft.SnapshotMeta{&m}, nil
}

func (s *snapDisk) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil || s.newest.meta.ID != id {
		return nil, nil, fmt.Errorf("no snapshot %s", id)
	}
	m := s.newest.meta
	return &m, io.NopCloser(bytes.NewReader(s.newest.Bytes())), nil
}

func (k *snapSink) ID() string    { return k.meta.ID }
func (k *snapSink) Cancel() error { return nil }

func (k *snapSink) Close() error {
	if err := k.s.d.at("close", "raft snapshot"); err != nil {
		return err
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.meta.Size = int64(k.Len())
	k.s.newest = k
	return nil
}
