package raftstore_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/raftstore"
)

// wrapped is the wrappers around stores in memory, and what lies under them.
type wrapped struct {
	*raftstore.Stores
	under *raft.InmemStore
}

func wrap(t testing.TB, under *raft.InmemStore) (wrapped, error) {
	s, err := raftstore.Harden(under, under, raft.NewInmemSnapshotStore(), raftstore.Options{})
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return wrapped{s, under}, err
}

func TestGoldenLogEntry(t *testing.T) {
	w, err := wrap(t, raft.NewInmemStore())
	require.NoError(t, err)
	want := raft.Log{Index: 1, Term: 3, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("extensions")}
	require.NoError(t, w.Log.StoreLog(&want))
	var under raft.Log
	require.NoError(t, w.under.GetLog(1, &under))
	require.Equal(t, want.Data, under.Data)
	golden.Bytes(t, "log-extensions", under.Extensions)

	under.Extensions = golden.Read(t, "log-extensions")
	stored := raft.NewInmemStore()
	require.NoError(t, stored.Set([]byte("CurrentTerm"), golden.Read(t, "stable-term")))
	require.NoError(t, stored.StoreLog(&under))
	w, err = wrap(t, stored)
	require.NoError(t, err)
	var got raft.Log
	require.NoError(t, w.Log.GetLog(1, &got))
	require.Equal(t, want, got)
}

func TestGoldenStable(t *testing.T) {
	w, err := wrap(t, raft.NewInmemStore())
	require.NoError(t, err)
	require.NoError(t, w.Stable.SetUint64([]byte("CurrentTerm"), 7))
	require.NoError(t, w.Stable.SetUint64([]byte("LastVoteTerm"), 5))
	require.NoError(t, w.Stable.Set([]byte("LastVoteCand"), []byte("b")))
	stored := raft.NewInmemStore()
	for key, name := range map[string]string{"CurrentTerm": "stable-term", "Vote": "stable-vote"} {
		b, err := w.under.Get([]byte(key))
		require.NoError(t, err)
		golden.Bytes(t, name, b)
		require.NoError(t, stored.Set([]byte(key), golden.Read(t, name)))
	}
	w, err = wrap(t, stored)
	require.NoError(t, err)
	for key, want := range map[string]uint64{"CurrentTerm": 7, "LastVoteTerm": 5} {
		got, err := w.Stable.GetUint64([]byte(key))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	cand, err := w.Stable.Get([]byte("LastVoteCand"))
	require.NoError(t, err)
	require.Equal(t, "b", string(cand))
}

// An entry that the log gives is one that was stored; the stable store gives
// values that were stored. With the right digest under any bytes as well.
func FuzzWrappedStores(f *testing.F) {
	f.Add(uint64(3), uint8(0), []byte("data"), golden.Read(f, "log-extensions"), golden.Read(f, "stable-term"), golden.Read(f, "stable-vote"))
	f.Fuzz(func(t *testing.T, term uint64, kind uint8, data, ext, current, vote []byte) {
		head := binary.BigEndian.AppendUint64([]byte{0, 0, 0, 0, 0, 0, 0, 1}, term)
		d := chain.Derive("raft entry", append(head, kind), binary.BigEndian.AppendUint64(nil, uint64(len(data))), data, ext)
		for _, ext := range [][]byte{ext, append(d[:], ext...)} {
			under := raft.NewInmemStore()
			newest := bytes.Repeat([]byte{0xff}, 8)
			sum := chain.Derive("raft stable", []byte("CurrentTerm"), []byte{0}, newest)
			require.NoError(t, under.Set([]byte("CurrentTerm"), append(sum[:], newest...)))
			require.NoError(t, under.StoreLog(&raft.Log{Index: 1, Term: term, Type: raft.LogType(kind), Data: data, Extensions: ext}))
			w, err := wrap(t, under)
			if err != nil {
				require.ErrorIs(t, err, raftstore.ErrDamaged)
				continue
			}
			var got, stored raft.Log
			require.NoError(t, w.Log.GetLog(1, &got))
			again, err := wrap(t, raft.NewInmemStore())
			require.NoError(t, err)
			require.NoError(t, again.Log.StoreLog(&got))
			require.NoError(t, again.under.GetLog(1, &stored))
			require.Equal(t, ext, stored.Extensions)
		}
		for _, v := range []struct {
			key string
			b   []byte
		}{{"CurrentTerm", current}, {"Vote", vote}} {
			d := chain.Derive("raft stable", []byte(v.key), []byte{0}, v.b)
			for _, b := range [][]byte{v.b, append(d[:], v.b...)} {
				under := raft.NewInmemStore()
				require.NoError(t, under.Set([]byte(v.key), b))
				w, err := wrap(t, under)
				if err != nil {
					require.ErrorIs(t, err, raftstore.ErrDamaged)
					continue
				}
				w.Stable.GetUint64([]byte("CurrentTerm"))
				w.Stable.GetUint64([]byte("LastVoteTerm"))
				w.Stable.Get([]byte("LastVoteCand"))
			}
		}
	})
}

// A snapshot's digest file is a sealed one over what Raft stored, file by file.
func TestSnapshotDigestFile(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, raftstore.Options{})
	ids, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	require.NoError(t, err)
	require.Len(t, ids, 1)
	id := ids[0].Name()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "snapshots", id, name))
		require.NoError(t, err)
		return append(b, 0)
	}
	want := chain.Derive("raft snapshot", read("meta.json"), read("state.bin"))
	got, err := durable.ReadSealed(durable.OS(dir), "digests/"+id, 32)
	require.NoError(t, err)
	require.Equal(t, want[:], got)
}
