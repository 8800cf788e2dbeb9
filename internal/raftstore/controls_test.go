package raftstore_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// A deposed leader with a backlog gets the new leader's snapshot. The bare log
// still holds its own line under it, so that the entry after the snapshot does
// not fit, and the leader sends the snapshot again, for ever (hashicorp/raft
// issue 697). Behind the wrapper the snapshot answers for its index.
func TestInstalledSnapshotIsEnough(t *testing.T) {
	disk := func(hard bool) (raft.LogStore, raft.StableStore, raft.SnapshotStore) {
		d, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		if !hard {
			return d, d, snaps
		}
		s, err := raftstore.Harden(d, d, snaps, raftstore.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return s.Log, s.Stable, s.Snapshots
	}
	for name, hard := range map[string]bool{"control: bare stores": false, "cured": true} {
		t.Run(name, func(t *testing.T) {
			logs, stable, snaps := disk(hard)
			_, a := raft.NewInmemTransport("a")
			_, b := raft.NewInmemTransport("b")
			a.Connect("b", b)
			b.Connect("a", a)
			cfg := raft.DefaultConfig()
			cfg.LocalID, cfg.Logger = "a", hclog.NewNullLogger()
			cfg.HeartbeatTimeout, cfg.ElectionTimeout = time.Hour, time.Hour
			conf := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}}
			require.NoError(t, raft.BootstrapCluster(cfg, logs, stable, snaps, a, conf))
			require.NoError(t, stable.SetUint64([]byte("CurrentTerm"), 2))
			for i := uint64(2); i <= 30; i++ {
				require.NoError(t, logs.StoreLog(entry(i, 2)))
			}
			r, err := raft.NewRaft(cfg, nothing{}, logs, stable, snaps, a)
			require.NoError(t, err)
			defer func() { require.NoError(t, r.Shutdown().Error()) }()

			header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("b"), Addr: []byte("b")}
			installs := 0
			for ; installs < 5; installs++ {
				var resp raft.AppendEntriesResponse
				require.NoError(t, b.AppendEntries("a", "a", &raft.AppendEntriesRequest{
					RPCHeader: header, Term: 3, PrevLogEntry: 20, PrevLogTerm: 3, Entries: []*raft.Log{entry(21, 3)},
				}, &resp))
				if resp.Success {
					break
				}
				var ok raft.InstallSnapshotResponse
				require.NoError(t, b.InstallSnapshot("a", "a", &raft.InstallSnapshotRequest{
					RPCHeader: header, SnapshotVersion: 1, Term: 3, LastLogIndex: 20, LastLogTerm: 3,
					Configuration: raft.EncodeConfiguration(conf), ConfigurationIndex: 1, Size: 4,
				}, &ok, bytes.NewReader([]byte("state")[:4])))
				require.True(t, ok.Success)
			}
			if hard {
				require.Equal(t, 1, installs)
			} else {
				require.Equal(t, 5, installs, "the control accepts the entry: is the cure still needed?")
			}
		})
	}
}

// nothing is a state machine without state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }

// One flipped bit of an entry: the bare database gives back other data as if
// nothing had happened; ours says that it is damaged.
func TestFlippedBit(t *testing.T) {
	flip := func(path string) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		bad := bytes.ReplaceAll(b, []byte("entry 25 with"), []byte("entry 35 with")) // one bit; pages that are not used any more as well
		require.NotEqual(t, b, bad)
		require.NoError(t, os.WriteFile(path, bad, 0o600))
	}
	t.Run("control: bare raft-boltdb", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "raft.db")
		db, err := raftboltdb.NewBoltStore(path)
		require.NoError(t, err)
		for i := uint64(20); i <= 30; i++ {
			require.NoError(t, db.StoreLog(entry(i, 2)))
		}
		require.NoError(t, db.Close())
		flip(path)
		db, err = raftboltdb.NewBoltStore(path)
		require.NoError(t, err)
		defer db.Close()
		var l raft.Log
		require.NoError(t, db.GetLog(25, &l))
		require.Equal(t, "entry 35 with some data", string(l.Data), "the control notices: is the cure still needed?")
	})
	for kind, file := range map[raftstore.Kind]string{raftstore.Bolt: "raft.db", raftstore.File: "log/00000001.seg"} {
		t.Run("cured: "+string(kind), func(t *testing.T) {
			dir, o := t.TempDir(), raftstore.Options{Store: kind}
			s, err := raftstore.Open(dir, o)
			require.NoError(t, err)
			for i := uint64(1); i <= 30; i++ {
				require.NoError(t, s.Log.StoreLog(entry(i, 2)))
			}
			require.NoError(t, s.Close())
			flip(filepath.Join(dir, file))
			_, err = raftstore.Open(dir, o)
			require.ErrorIs(t, err, raftstore.ErrDamaged)
		})
	}
}
