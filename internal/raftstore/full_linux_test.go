package raftstore_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/raftstore"
)

// full has no room left under an open file.
func full(t *testing.T, path string) {
	t.Helper()
	none, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer none.Close()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); to == path {
			n, err := strconv.Atoi(fd.Name())
			require.NoError(t, err)
			require.NoError(t, syscall.Dup3(int(none.Fd()), n, syscall.O_CLOEXEC))
			return
		}
	}
	require.Fail(t, "it is not open", path)
}

// A snapshot for which the disk had no room gives back what it took, else each
// try takes more, and there is still none when others have made some.
func TestSnapshotOnAFullDiskLeavesNothing(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	s, err := raftstore.Open(dir, options(raftstore.File))
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	for range 3 {
		sink, err := s.Snapshots.Create(raft.SnapshotVersionMax, 9, 7, raft.Configuration{}, 1, nil)
		require.NoError(t, err)
		_, err = sink.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		full(t, filepath.Join(dir, "snapshots", sink.ID()+".tmp", "state.bin"))
		_, err = sink.Write(make([]byte, 1<<20))
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, sink.Cancel(), syscall.ENOSPC)
		names, err := durable.OS(dir).List("snapshots")
		require.NoError(t, err)
		require.Empty(t, names)
	}
	snapshot(t, s, 9) // there is room again
	require.NoError(t, s.Log.StoreLog(entry(10, 7)))
}
