package raftstore_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// A directory goes from one store to the other and back with all it holds. The
// old one stays until the next start has found all in order, and an old one
// that is still there never counts again.
func TestMigration(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, options(raftstore.Bolt))
	require.NoError(t, os.Remove(filepath.Join(dir, "store"))) // as of an earlier version
	for _, k := range []raftstore.Kind{raftstore.File, raftstore.Bolt, raftstore.File} {
		s, err := raftstore.Open(dir, options(k))
		require.NoError(t, err)
		check(t, s)
		require.NoError(t, s.Close())
		require.NotEmpty(t, olds(t, dir))
		s, err = raftstore.Open(dir, options(k))
		require.NoError(t, err)
		check(t, s)
		require.NoError(t, s.Close())
		require.Empty(t, olds(t, dir))
	}
}

func olds(t *testing.T, dir string) []string {
	m, err := filepath.Glob(filepath.Join(dir, "*.old"))
	require.NoError(t, err)
	return m
}

// What a crash during a migration can leave, before and after the moment at
// which the new store takes over, is sorted out by the next start.
func TestMigrationIsCut(t *testing.T) {
	for _, k := range kinds {
		other := map[raftstore.Kind]raftstore.Kind{raftstore.Bolt: raftstore.File, raftstore.File: raftstore.Bolt}[k]
		name := map[raftstore.Kind]string{raftstore.Bolt: "raft.db", raftstore.File: "log"}
		stale := t.TempDir() // holds less than dir
		s, err := raftstore.Open(stale, options(other))
		require.NoError(t, err)
		require.NoError(t, s.Log.StoreLog(entry(1, 1)))
		require.NoError(t, s.Close())
		for what, to := range map[string]string{"being built": name[other] + ".new", "in place and not counting": name[other], "put aside": name[other] + ".old"} {
			for _, want := range []raftstore.Kind{k, other} {
				t.Run(string(k)+" to "+string(want)+", the other "+what, func(t *testing.T) {
					dir := t.TempDir()
					fill(t, dir, options(k))
					out, err := exec.Command("cp", "-r", filepath.Join(stale, name[other]), filepath.Join(dir, to)).CombinedOutput()
					require.NoError(t, err, string(out))
					for range 3 {
						s, err := raftstore.Open(dir, options(want))
						require.NoError(t, err)
						check(t, s)
						require.NoError(t, s.Close())
					}
					require.Empty(t, olds(t, dir))
				})
			}
		}
	}
}

// Two stores and nothing that says which one counts is damage.
func TestTwoStoresAreRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	fill(t, dir, options(raftstore.Bolt))
	fill(t, other, options(raftstore.File))
	require.NoError(t, os.Rename(filepath.Join(other, "log"), filepath.Join(dir, "log")))
	require.NoError(t, os.Remove(filepath.Join(dir, "store")))
	_, err := raftstore.Open(dir, options(raftstore.File))
	require.ErrorIs(t, err, raftstore.ErrDamaged)
}

// A damaged store is not migrated.
func TestDamagedStoreIsNotMigrated(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, options(raftstore.Bolt))
	db := filepath.Join(dir, "raft.db")
	b, err := os.ReadFile(db)
	require.NoError(t, err)
	i := len(b) - 1
	for ; i > 0 && string(b[i-4:i]) != "some"; i-- {
	}
	require.Positive(t, i)
	for ; i > 0; i-- { // every copy of an entry's text
		if string(b[i:i+4]) == "some" {
			b[i] ^= 1
		}
	}
	require.NoError(t, os.WriteFile(db, b, 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "store"))) // as of an earlier version
	for range 2 {
		_, err = raftstore.Open(dir, options(raftstore.File))
		require.ErrorIs(t, err, raftstore.ErrDamaged)
	}
	_, err = os.Stat(db)
	require.NoError(t, err, "it is left as it is")
	_, err = os.Stat(filepath.Join(dir, "store"))
	require.NoError(t, err, "which store counts is written down before there are two")
}

// After a snapshot beyond the end of the log was installed Raft goes on after
// it. The next start must not take the gap for lost entries.
func TestSnapshotBeyondTheLog(t *testing.T) {
	eachKind(t, func(t *testing.T, o raftstore.Options) {
		dir := t.TempDir()
		s, err := raftstore.Open(dir, o)
		require.NoError(t, err)
		require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 2))
		for i := uint64(1); i <= 10; i++ {
			require.NoError(t, s.Log.StoreLog(entry(i, 1)))
		}
		_, trans := raft.NewInmemTransport("a")
		sink, err := s.Snapshots.Create(1, 50, 2, raft.Configuration{}, 1, trans)
		require.NoError(t, err)
		require.NoError(t, sink.Close())
		require.NoError(t, s.Log.StoreLog(entry(51, 2)))
		require.NoError(t, s.Close())
		s, err = raftstore.Open(dir, o)
		require.NoError(t, err)
		first, err := s.Log.FirstIndex()
		require.NoError(t, err)
		require.Equal(t, uint64(51), first)
		require.NoError(t, s.Close())
	})
}

// What was stored last is answered from memory, and only that.
func TestNewestEntriesAreInMemory(t *testing.T) {
	disk := raft.NewInmemStore()
	s, err := raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.NoError(t, err)
	defer s.Close()
	for i := uint64(1); i <= 3000; i++ {
		require.NoError(t, s.Log.StoreLog(entry(i, 1)))
	}
	require.NoError(t, disk.DeleteRange(1, 3000))
	var l raft.Log
	require.NoError(t, s.Log.GetLog(3000, &l))
	require.Equal(t, *entry(3000, 1), l)
	require.ErrorIs(t, s.Log.GetLog(1000, &l), raft.ErrLogNotFound, "memory is bounded")
	require.NoError(t, s.Log.DeleteRange(2990, 3000))
	require.ErrorIs(t, s.Log.GetLog(2995, &l), raft.ErrLogNotFound)
	require.NoError(t, s.Log.StoreLog(entry(2990, 2)))
	require.NoError(t, s.Log.GetLog(2990, &l))
	require.Equal(t, uint64(2), l.Term)
}
