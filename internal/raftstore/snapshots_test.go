package raftstore_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/raftstore"
)

// snapshots makes a store with some entries and snapshots at the indexes, and
// says their ids.
func snapshots(t *testing.T, entries uint64, at ...uint64) (dir string, ids []string) {
	dir = t.TempDir()
	s, err := raftstore.Open(dir, options(raftstore.File))
	require.NoError(t, err)
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	for i := uint64(1); i <= entries; i++ {
		require.NoError(t, s.Log.StoreLog(entry(i, 7)))
	}
	for _, i := range at {
		ids = append(ids, snapshot(t, s, i))
	}
	require.NoError(t, s.Close())
	return dir, ids
}

func snapshot(t *testing.T, s *raftstore.Stores, at uint64) (id string) {
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, at, 7, raft.Configuration{}, 1, nil)
	require.NoError(t, err)
	_, err = sink.Write([]byte("the state"))
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	return sink.ID()
}

// starts opens a store twice: the first start may have tidied up.
func starts(t *testing.T, dir string, newest uint64) {
	for range 2 {
		s, err := raftstore.Open(dir, options(raftstore.File))
		require.NoError(t, err)
		metas, err := s.Snapshots.List()
		require.NoError(t, err)
		require.NotEmpty(t, metas)
		require.Equal(t, newest, metas[0].Index)
		require.NoError(t, s.Close())
	}
}

func refused(t *testing.T, dir string) {
	for range 2 { // nothing was removed that would hide it from the second start
		_, err := raftstore.Open(dir, options(raftstore.File))
		require.ErrorIs(t, err, raftstore.ErrDamaged)
	}
}

// A member that was killed while Raft removed an old snapshot starts again.
func TestHalfReapedSnapshot(t *testing.T) {
	for _, gone := range []string{"state.bin", "meta.json", ""} {
		dir, ids := snapshots(t, 50, 10, 20, 30)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "snapshots", ids[0], gone)))
		if gone == "" {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "snapshots", ids[0]), 0o700))
		}
		starts(t, dir, 30)
		require.NoDirExists(t, filepath.Join(dir, "snapshots", ids[0]))
		require.NoFileExists(t, filepath.Join(dir, "digests", ids[0]))
	}
	dir, ids := snapshots(t, 50, 10, 20, 30)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "snapshots", ids[0], "state.bin"), []byte("another"), 0o600))
	refused(t, dir)
	dir, ids = snapshots(t, 50, 10, 20, 30)
	require.NoError(t, os.Remove(filepath.Join(dir, "snapshots", ids[2], "state.bin")))
	refused(t, dir)
}

// A lost newest snapshot, or its digest, is damage: an older one does not
// silently take its place.
func TestLostNewestSnapshot(t *testing.T) {
	for _, lost := range [][]string{{"snapshots"}, {"digests"}, {"snapshots", "digests"}} {
		for _, at := range [][]uint64{{10, 1000}, {9, 10}, {10}} {
			dir, ids := snapshots(t, 50, at...)
			for _, sub := range lost {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, sub, ids[len(ids)-1])))
			}
			refused(t, dir)
		}
	}
	dir, ids := snapshots(t, 50, 10, 1000)
	require.NoError(t, os.Remove(filepath.Join(dir, "newest"))) // as of an earlier version
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "snapshots", ids[1])))
	refused(t, dir)
}

// Whenever a member is killed while it makes a snapshot, it starts again.
func TestKilledWhileMakingASnapshot(t *testing.T) {
	newest := func(t *testing.T, dir, id string) {
		require.NoError(t, durable.WriteSealed(durable.OS(dir), "newest", []byte(id)))
	}
	for what, c := range map[string]struct {
		undo func(t *testing.T, dir string, ids []string) // from the end of making the second one back to the kill
		want uint64
	}{
		"its state was being written": {func(t *testing.T, dir string, ids []string) {
			newest(t, dir, ids[0])
			require.NoError(t, os.Remove(filepath.Join(dir, "digests", ids[1])))
			snap := filepath.Join(dir, "snapshots", ids[1])
			require.NoError(t, os.Rename(snap, snap+".tmp"))
		}, 10},
		"before its digest": {func(t *testing.T, dir string, ids []string) {
			newest(t, dir, ids[0])
			require.NoError(t, os.Remove(filepath.Join(dir, "digests", ids[1])))
		}, 10},
		"its digest was being written": {func(t *testing.T, dir string, ids []string) {
			newest(t, dir, ids[0])
			digest := filepath.Join(dir, "digests", ids[1])
			require.NoError(t, os.Rename(digest, digest+".tmp123"))
		}, 10},
		"before it counts": {func(t *testing.T, dir string, ids []string) { newest(t, dir, ids[0]) }, 30},
		"by an earlier version, before its digest": {func(t *testing.T, dir string, ids []string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "newest")))
			require.NoError(t, os.Remove(filepath.Join(dir, "digests", ids[1])))
		}, 10},
		"never, by an earlier version": {func(t *testing.T, dir string, ids []string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "newest")))
		}, 30},
	} {
		t.Run(what, func(t *testing.T) {
			dir, ids := snapshots(t, 50, 10, 30)
			c.undo(t, dir, ids)
			starts(t, dir, c.want)
			b, err := durable.ReadSealed(durable.OS(dir), "newest", 64)
			require.NoError(t, err)
			require.Contains(t, string(b), fmt.Sprintf("7-%d-", c.want))
		})
	}
}

// slowSnapshots is a store whose snapshots take their time to be completed, as
// large ones do.
type slowSnapshots struct {
	raft.SnapshotStore
	takes time.Duration
}

type slowSink struct {
	raft.SnapshotSink
	takes time.Duration
}

func (s slowSnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, t)
	return slowSink{sink, s.takes}, err
}

func (k slowSink) Close() error {
	time.Sleep(k.takes)
	return k.SnapshotSink.Close()
}

// A snapshot takes as long as it is large, and is no stalled write. One that
// does not come to its end is.
func TestLargeSnapshotIsNoStall(t *testing.T) {
	for takes, stalls := range map[time.Duration]bool{5 * time.Second: false, time.Minute: true} {
		synctest.Test(t, func(t *testing.T) {
			disk := raft.NewInmemStore()
			fatal := make(chan error, 1)
			s, err := raftstore.Harden(disk, disk, slowSnapshots{raft.NewInmemSnapshotStore(), takes}, raftstore.Options{
				WarnAfter: time.Second, FatalAfter: 2 * time.Second, OnFatal: func(err error) { fatal <- err },
			})
			require.NoError(t, err)
			defer s.Close()
			sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, 1, 7, raft.Configuration{}, 1, nil)
			require.NoError(t, err)
			go func() {
				time.Sleep(4 * time.Second)
				if s.Stalled() > 0 {
					t.Error("it counts as stalled")
				}
			}()
			require.Equal(t, stalls, sink.Close() != nil)
			require.Equal(t, stalls, len(fatal) > 0)
		})
	}
}

// A large snapshot becomes durable while it is written, not all at its end,
// where that would hold up the log.
func TestSnapshotIsSyncedOnTheWay(t *testing.T) {
	var syncs atomic.Uint64
	o := options(raftstore.File)
	o.Syncs = &syncs
	dir := t.TempDir()
	s, err := raftstore.Open(dir, o)
	require.NoError(t, err)
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, 9, 7, raft.Configuration{}, 1, nil)
	require.NoError(t, err)
	before := syncs.Load()
	state := bytes.Repeat([]byte("a state"), 3<<20)
	n, err := sink.Write(state)
	require.NoError(t, err)
	require.Equal(t, len(state), n)
	require.EqualValues(t, before+5, syncs.Load(), "21 MiB")
	require.NoError(t, sink.Close())
	require.NoError(t, s.Close())

	s, err = raftstore.Open(dir, o)
	require.NoError(t, err)
	defer s.Close()
	_, r, err := s.Snapshots.Open(sink.ID())
	require.NoError(t, err)
	defer r.Close()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(state, got))
}

// A kill while the first digest is written, and one in the start after it, leave
// only the digest's temporary file. The member starts again.
func TestLeftoverOfTheFirstDigest(t *testing.T) {
	dir, _ := snapshots(t, 5)
	left := filepath.Join(dir, "digests", "7-5-1700000000000.tmp123")
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))
	s, err := raftstore.Open(dir, options(raftstore.File))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoFileExists(t, left)
}

// The digest of a snapshot goes with it, also in a process that runs for long:
// there may be a snapshot every few seconds.
func TestDigestsGoWithTheirSnapshots(t *testing.T) {
	dir, ids := snapshots(t, 50, 5, 10, 15, 20, 25, 30)
	for _, sub := range []string{"snapshots", "digests"} {
		names, err := durable.OS(dir).List(sub)
		require.NoError(t, err)
		require.Equal(t, ids[3:], names, sub)
	}
	starts(t, dir, 30)
}

// A member that was frozen while it made a snapshot may get one from beyond its
// log first. The older one, completed after it, takes nothing of it back: the
// leader would have to send the newer one again.
func TestOlderSnapshotAfterAnInstalledOne(t *testing.T) {
	dir, _ := snapshots(t, 30)
	s, err := raftstore.Open(dir, options(raftstore.File))
	require.NoError(t, err)
	defer s.Close()
	older, err := s.Snapshots.Create(raft.SnapshotVersionMax, 20, 7, raft.Configuration{}, 1, nil)
	require.NoError(t, err)
	snapshot(t, s, 100)
	require.NoError(t, older.Close())
	var l raft.Log
	require.NoError(t, s.Log.GetLog(100, &l))
	require.EqualValues(t, 7, l.Term)
	require.NoError(t, s.Log.StoreLog(entry(101, 7)))
}
