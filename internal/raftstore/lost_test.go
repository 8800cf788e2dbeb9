package raftstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// A member that has lost its votes or its log does not start as if it had never
// voted, whichever store its configuration asks for.
func TestLostVotesAndLog(t *testing.T) {
	for what, paths := range map[string]map[raftstore.Kind][]string{
		"the votes":                 {raftstore.File: {"log/stable"}},
		"the mark":                  {raftstore.File: {"log/mark"}},
		"the log":                   {raftstore.File: {"log"}, raftstore.Bolt: {"raft.db"}},
		"the log and what names it": {raftstore.File: {"log", "store"}, raftstore.Bolt: {"raft.db", "store"}},
	} {
		for k, gone := range paths {
			for _, want := range kinds {
				t.Run(what+" of "+string(k)+", "+string(want)+" wanted", func(t *testing.T) {
					dir := t.TempDir()
					fill(t, dir, options(k))
					for _, p := range gone {
						require.NoError(t, os.RemoveAll(filepath.Join(dir, p)))
					}
					for range 2 {
						_, err := raftstore.Open(dir, options(want))
						require.ErrorIs(t, err, raftstore.ErrDamaged)
					}
				})
			}
		}
	}
}

// A term that is older than what the log or a snapshot holds is of an older
// disk, and so is the vote beside it.
func TestOlderTermThanTheLog(t *testing.T) {
	older := func() (*raft.InmemStore, *raftstore.Stores) {
		disk := raft.NewInmemStore()
		s, err := raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
		require.NoError(t, err)
		require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 4))
		return disk, s
	}
	disk, s := older()
	require.NoError(t, s.Log.StoreLog(entry(1, 5)))
	require.NoError(t, s.Close())
	_, err := raftstore.Harden(disk, disk, raft.NewInmemSnapshotStore(), raftstore.Options{})
	require.ErrorIs(t, err, raftstore.ErrDamaged)

	disk, s = older()
	defer s.Close()
	snaps := raft.NewInmemSnapshotStore()
	_, trans := raft.NewInmemTransport("a")
	sink, err := snaps.Create(1, 20, 5, raft.Configuration{}, 1, trans)
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	_, err = raftstore.Harden(disk, disk, snaps, raftstore.Options{})
	require.ErrorIs(t, err, raftstore.ErrDamaged)
}

// A member that was killed while its first store was made has never voted, and
// starts.
func TestKilledAtTheFirstStart(t *testing.T) {
	eachKind(t, func(t *testing.T, o raftstore.Options) {
		whole := t.TempDir()
		s, err := raftstore.Open(whole, o)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		path := map[raftstore.Kind]string{raftstore.Bolt: "raft.db", raftstore.File: "log"}[o.Store]
		made := files(t, filepath.Join(whole, path))
		for name := range made { // each file of it is the one that was not there yet
			for _, fresh := range []string{".new", ""} {
				dir := t.TempDir()
				require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
				require.NoError(t, os.Remove(filepath.Join(dir, "store")))
				if fresh != "" {
					require.NoError(t, os.Rename(filepath.Join(dir, path), filepath.Join(dir, path+fresh)))
					require.NoError(t, os.Remove(filepath.Join(dir, path+fresh, strings.TrimPrefix(name, filepath.Join(whole, path)))))
				}
				s, err := raftstore.Open(dir, o)
				require.NoError(t, err)
				require.NoError(t, s.Close())
			}
		}
	})
}
