package raftstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// stuck is a log store whose writes do not return.
type stuck struct {
	raft.LogStore
	release chan struct{}
}

func (s *stuck) StoreLogs(l []*raft.Log) error {
	<-s.release
	return s.LogStore.StoreLogs(l)
}

// Raft never replaces a leader whose disk stalls (hashicorp/raft issue 503):
// a write that does not return is a failure, though nothing said so.
func TestStalledWriteIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := raft.NewInmemStore()
		slow := &stuck{disk, make(chan struct{})}
		fatal := make(chan error, 2)
		s, err := raftstore.Harden(slow, disk, raft.NewInmemSnapshotStore(), raftstore.Options{
			WarnAfter: time.Second, FatalAfter: 10 * time.Second, OnFatal: func(err error) { fatal <- err },
		})
		require.NoError(t, err)
		stored := make(chan error)
		start := time.Now()
		go func() { stored <- s.Log.StoreLog(entry(1, 1)) }()
		select {
		case err := <-fatal:
			require.ErrorContains(t, err, "has not returned")
		case <-time.After(12 * time.Second):
			t.Error("nobody noticed")
		}
		require.GreaterOrEqual(t, time.Since(start), 10*time.Second)
		close(slow.release)
		require.NoError(t, <-stored)
		require.ErrorIs(t, s.Log.StoreLog(entry(2, 1)), raftstore.ErrFailed, "it came back, and is not believed")
		require.NoError(t, s.Close())
		require.Empty(t, fatal, "told once")
	})
}

// What a failed or interrupted snapshot leaves behind is removed at the start
// (hashicorp/raft issue 714), and complete ones stay.
func TestLeftoversOfSnapshotsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, raftstore.Options{})
	snaps := filepath.Join(dir, "snapshots")
	before, err := os.ReadDir(snaps)
	require.NoError(t, err)
	for _, name := range []string{"9-99-1.tmp", "9-99-2"} { // the second was completed, and its digest never written
		require.NoError(t, os.Mkdir(filepath.Join(snaps, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(snaps, name, "state.bin"), []byte("half"), 0o600))
	}
	s, err := raftstore.Open(dir, raftstore.Options{})
	require.NoError(t, err)
	check(t, s)
	require.NoError(t, s.Close())
	after, err := os.ReadDir(snaps)
	require.NoError(t, err)
	require.Len(t, after, len(before))
}
