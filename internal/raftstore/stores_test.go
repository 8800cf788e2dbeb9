package raftstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

func entry(i, term uint64) *raft.Log {
	return &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: fmt.Appendf(nil, "entry %d with some data", i)}
}

// options are those of a kind, with segments that are quick to read.
func options(k raftstore.Kind) raftstore.Options {
	return raftstore.Options{Store: k, SegmentBytes: 64 << 10}
}

var kinds = []raftstore.Kind{raftstore.Bolt, raftstore.File}

func eachKind(t *testing.T, f func(t *testing.T, o raftstore.Options)) {
	for _, k := range kinds {
		t.Run(string(k), func(t *testing.T) { f(t, options(k)) })
	}
}

// fill writes what a member has after a while: entries, a vote, a snapshot.
func fill(t *testing.T, dir string, o raftstore.Options) {
	s, err := raftstore.Open(dir, o)
	require.NoError(t, err)
	for i := uint64(1); i <= 40; i++ {
		require.NoError(t, s.Log.StoreLog(entry(i, 1+i/10)))
	}
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 5))
	require.NoError(t, s.Stable.SetUint64([]byte("LastVoteTerm"), 5))
	require.NoError(t, s.Stable.Set([]byte("LastVoteCand"), []byte("b")))
	_, trans := raft.NewInmemTransport("a")
	sink, err := s.Snapshots.Create(1, 20, 3, raft.Configuration{}, 1, trans)
	require.NoError(t, err)
	_, err = sink.Write([]byte("the state"))
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	require.NoError(t, s.Log.DeleteRange(1, 10))
	require.NoError(t, s.Close())
}

// check says whether the stores hold exactly what fill wrote.
func check(t *testing.T, s *raftstore.Stores) {
	var l raft.Log
	for i := uint64(11); i <= 40; i++ {
		require.NoError(t, s.Log.GetLog(i, &l))
		require.Equal(t, *entry(i, 1+i/10), l)
	}
	last, err := s.Log.LastIndex()
	require.NoError(t, err)
	require.Equal(t, uint64(40), last)
	for _, k := range []string{"CurrentTerm", "LastVoteTerm"} {
		v, err := s.Stable.GetUint64([]byte(k))
		require.NoError(t, err)
		require.Equal(t, uint64(5), v)
	}
	c, err := s.Stable.Get([]byte("LastVoteCand"))
	require.NoError(t, err)
	require.Equal(t, "b", string(c))
	metas, err := s.Snapshots.List()
	require.NoError(t, err)
	require.Len(t, metas, 1)
}

func TestStoresRoundTrip(t *testing.T) { eachKind(t, roundTrip) }

func roundTrip(t *testing.T, o raftstore.Options) {
	dir := t.TempDir()
	fill(t, dir, o)
	for range 2 {
		s, err := raftstore.Open(dir, o)
		require.NoError(t, err)
		check(t, s)
		require.NoError(t, s.Close())
	}
	s, err := raftstore.Open(filepath.Join(dir, "new"), o)
	require.NoError(t, err)
	_, err = raftstore.Open(filepath.Join(dir, "new"), o)
	require.ErrorContains(t, err, "used by another process")
	require.NoError(t, s.Close())
}

// A flipped bit in any file is refused or harmless: never another answer, and
// never the end of the process. Cut files likewise.
func TestStoresDamage(t *testing.T) { eachKind(t, damage) }

func damage(t *testing.T, o raftstore.Options) {
	dir := t.TempDir()
	fill(t, dir, o)
	found, flips := 0, 331
	if o.Store == raftstore.File || testing.Short() {
		flips = 97 // its own tests flip every byte
	}
	seed := rand.Uint64()
	t.Logf("seed %d: the flipped bits lie elsewhere in each run", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for name, b := range files(t, dir) {
		step := max(1, len(b)*8/flips)
		for bit := rng.IntN(step); bit < len(b)*8; bit += step {
			bad := append([]byte(nil), b...)
			bad[bit/8] ^= 1 << (bit % 8)
			found += open(t, dir, o, name, bad)
		}
		for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
			if len(b) > 0 {
				found += open(t, dir, o, name, b[:n])
			}
		}
		require.NoError(t, os.WriteFile(name, b, 0o600))
	}
	require.Greater(t, found, 50)
}

func open(t *testing.T, dir string, o raftstore.Options, name string, b []byte) (found int) {
	require.NoError(t, os.WriteFile(name, b, 0o600))
	s, err := raftstore.Open(dir, o)
	if err != nil {
		require.ErrorIs(t, err, raftstore.ErrDamaged, "%s", name)
		return 1
	}
	check(t, s)
	require.NoError(t, s.Close())
	return 0
}

func files(t *testing.T, dir string) map[string][]byte {
	out := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out[p], err = os.ReadFile(p)
		}
		return err
	}))
	return out
}

// A crash between the two writes of a vote must not leave a vote for the
// candidate of an earlier term under the newer one.
func TestVoteIsOneWrite(t *testing.T) {
	vote := func(s raft.StableStore, term uint64, cand string) {
		require.NoError(t, s.SetUint64([]byte("LastVoteTerm"), term))
		if cand != "" {
			require.NoError(t, s.Set([]byte("LastVoteCand"), []byte(cand)))
		}
	}
	read := func(s raft.StableStore) string {
		term, err := s.GetUint64([]byte("LastVoteTerm"))
		require.NoError(t, err)
		cand, err := s.Get([]byte("LastVoteCand"))
		require.NoError(t, err)
		return fmt.Sprint(term, " ", string(cand))
	}
	bare := raft.NewInmemStore()
	vote(bare, 3, "b")
	vote(bare, 4, "") // crash before the candidate
	require.Equal(t, "4 b", read(bare), "control: without the wrapper the votes are mixed up")

	disk := raft.NewInmemStore()
	s, err := raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.NoError(t, err)
	vote(s.Stable, 3, "b")
	vote(s.Stable, 4, "")
	require.NoError(t, s.Close())
	s, err = raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "3 b", read(s.Stable))
	vote(s.Stable, 4, "c")
	require.Equal(t, "4 c", read(s.Stable))
}

// failing is a log store whose next write fails once.
type failing struct {
	raft.LogStore
	err error
}

func (f *failing) StoreLogs(l []*raft.Log) error {
	if err := f.err; err != nil {
		f.err = nil
		return err
	}
	return f.LogStore.StoreLogs(l)
}

func TestFirstFailedWriteIsTheLast(t *testing.T) {
	disk := raft.NewInmemStore()
	bad := &failing{LogStore: disk}
	var fatal []error
	s, err := raftstore.Harden(bad, disk, raft.NewInmemSnapshotStore(), raftstore.Options{OnFatal: func(err error) { fatal = append(fatal, err) }})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Log.StoreLog(entry(1, 1)))
	bad.err = errors.New("EIO")
	require.ErrorContains(t, s.Log.StoreLog(entry(2, 1)), "EIO")
	require.ErrorIs(t, s.Log.StoreLog(entry(2, 1)), raftstore.ErrFailed, "the disk says yes again, and is not believed")
	require.ErrorIs(t, s.Stable.SetUint64([]byte("CurrentTerm"), 9), raftstore.ErrFailed)
	require.Len(t, fatal, 1)
}

// A term that cannot be stored ends Raft's goroutine and not the process, and
// what Raft defers is done.
func TestFailedTermEndsOnlyItsGoroutine(t *testing.T) {
	var fatal []error
	s, err := raftstore.Harden(raft.NewInmemStore(), readOnly{raft.NewInmemStore()}, raft.NewInmemSnapshotStore(), raftstore.Options{
		OnFatal: func(err error) { fatal = append(fatal, err) },
	})
	require.NoError(t, err)
	defer s.Close()
	require.Error(t, s.Stable.SetUint64([]byte("CurrentTerm"), 1), "not running yet: an error")
	s.Started()
	done, on := make(chan struct{}), false
	go func() {
		defer close(done)
		s.Stable.SetUint64([]byte("CurrentTerm"), 2)
		on = true // Raft would panic here
	}()
	<-done
	require.False(t, on)
	require.Len(t, fatal, 1)
}

// An installed snapshot of another line answers for its index and clears what
// the log holds of the old line under it.
func TestInstalledSnapshotClearsAnotherLine(t *testing.T) {
	disk := raft.NewInmemStore()
	s, err := raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.NoError(t, err)
	defer s.Close()
	for i := uint64(1); i <= 30; i++ {
		require.NoError(t, s.Log.StoreLog(entry(i, 2)))
	}
	_, trans := raft.NewInmemTransport("a")
	sink, err := s.Snapshots.Create(1, 20, 3, raft.Configuration{}, 1, trans)
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	var l raft.Log
	require.NoError(t, disk.GetLog(21, &l))
	require.ErrorIs(t, disk.GetLog(20, &l), raft.ErrLogNotFound)
	require.NoError(t, s.Log.GetLog(20, &l))
	require.Equal(t, uint64(3), l.Term, "what the leader compares with")
	require.NoError(t, s.Log.GetLog(25, &l))
}

// Raft stores the term that it has read once more when it starts, and panics if
// that fails. Nothing needs to be written then.
func TestSameTermIsNotWrittenAgain(t *testing.T) {
	disk := raft.NewInmemStore()
	s, err := raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	require.NoError(t, s.Close())
	s, err = raftstore.Harden(disk, readOnly{disk}, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	require.Error(t, s.Stable.SetUint64([]byte("CurrentTerm"), 8))
}

// readOnly is a stable store that cannot be written any more.
type readOnly struct{ raft.StableStore }

func (readOnly) Set([]byte, []byte) error { return errors.New("EROFS") }

// A member that was away for so long that it got a snapshot from beyond the end
// of its log goes on after it, and starts again.
func TestInstalledSnapshotBeyondTheLog(t *testing.T) {
	dir := t.TempDir()
	open := func() *raftstore.Stores {
		s, err := raftstore.Open(dir, raftstore.Options{})
		require.NoError(t, err)
		return s
	}
	s := open()
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 3))
	for i := uint64(1); i <= 30; i++ {
		require.NoError(t, s.Log.StoreLog(entry(i, 2)))
	}
	_, trans := raft.NewInmemTransport("a")
	sink, err := s.Snapshots.Create(1, 100, 3, raft.Configuration{}, 1, trans)
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	require.NoError(t, s.Log.DeleteRange(0, 20), "as Raft compacts, which still believes in the old end")
	require.NoError(t, s.Log.StoreLog(entry(101, 3)))
	require.NoError(t, s.Close())
	s = open()
	defer s.Close()
	var l raft.Log
	require.NoError(t, s.Log.GetLog(101, &l))
	first, err := s.Log.FirstIndex()
	require.NoError(t, err)
	require.Equal(t, uint64(101), first)
}
