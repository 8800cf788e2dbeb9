package peernet

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// stock is the transport as Raft would have it: its heartbeats are handled on
// the connections' goroutines.
func stock(t *Transport) raft.Transport { return stockTransport{t} }

type stockTransport struct{ *Transport }

func (t stockTransport) SetHeartbeatHandler(f func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(f)
}

func cured(t *Transport) raft.Transport { return t }

// lab is a member with a real Raft, a, and two members that the test plays.
type lab struct {
	sw   *Switch
	a    *raft.Raft
	logs *raft.InmemStore
	fsm  *words
	b    raft.Transport
}

// words remembers what was applied.
type words struct{ applied []string }

func (w *words) Apply(l *raft.Log) any {
	w.applied = append(w.applied, string(l.Data))
	return nil
}
func (w *words) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (w *words) Restore(r io.ReadCloser) error       { return r.Close() }

var header = raft.RPCHeader{ProtocolVersion: 3, ID: []byte("b"), Addr: []byte("b")}

func simNetwork(t *testing.T, sw *Switch, member string) Network {
	f := testkit.Founding(3)
	id := Identity{Group: f.Group, Origin: f.Origin(), Member: member, StoreID: [16]byte{member[0]}, Starts: 1}
	n, err := sw.Network(id, testkit.Keys(member).Log, f.Roster, durable.NewMem().Sub("peers"))
	require.NoError(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func quickRaft(id string) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(id)
	c.Logger = hclog.NewNullLogger()
	c.NoLegacyTelemetry = true
	return c
}

func threeServers() raft.Configuration {
	var c raft.Configuration
	for _, m := range []string{"a", "b", "c"} {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(m), Address: raft.ServerAddress(m)})
	}
	return c
}

// newLab starts a and has the others elect it.
func newLab(t *testing.T, kind func(*Transport) raft.Transport) *lab {
	l := &lab{sw: NewSwitch(), logs: raft.NewInmemStore(), fsm: &words{}}
	trans := make(map[string]*Transport)
	for _, m := range []string{"a", "b", "c"} {
		tr := NewTransport(simNetwork(t, l.sw, m), m, nil, 5*time.Second, hclog.NewNullLogger())
		trans[m] = tr
		t.Cleanup(func() { tr.Close() })
	}
	for _, m := range []string{"b", "c"} {
		go agree(t, trans[m])
	}
	cfg, snaps := quickRaft("a"), raft.NewInmemSnapshotStore()
	require.NoError(t, raft.BootstrapCluster(cfg, l.logs, l.logs, snaps, trans["a"], threeServers()))
	var err error
	l.a, err = raft.NewRaft(cfg, l.fsm, l.logs, l.logs, snaps, kind(trans["a"]))
	require.NoError(t, err)
	t.Cleanup(func() { l.a.Shutdown().Error() })
	l.b = trans["b"]
	require.True(t, <-l.a.LeaderCh())
	return l
}

// agree answers yes to everything.
func agree(t *testing.T, tr raft.Transport) {
	for {
		select {
		case rpc := <-tr.Consumer():
			switch q := rpc.Command.(type) {
			case *raft.RequestPreVoteRequest:
				rpc.Respond(&raft.RequestPreVoteResponse{Term: q.Term, Granted: true}, nil)
			case *raft.RequestVoteRequest:
				rpc.Respond(&raft.RequestVoteResponse{Term: q.Term, Granted: true}, nil)
			case *raft.AppendEntriesRequest:
				rpc.Respond(&raft.AppendEntriesResponse{Term: q.Term, LastLog: q.PrevLogEntry + uint64(len(q.Entries)), Success: true}, nil)
			}
		case <-t.Context().Done():
			return
		}
	}
}

// A heartbeat of a newer term reaches a leader that waits for work; then a
// client's entry arrives. Handled beside the main loop, the heartbeat raises the
// term under the loop's feet and the entry is written under a term in which it
// was never proposed (hashicorp/raft issue 695). What the true leader of that
// term has at the same place is then taken for a duplicate: a fork.
func TestHeartbeatOfANewerTerm(t *testing.T) {
	for name, c := range map[string]struct {
		kind  func(*Transport) raft.Transport
		forks bool
	}{"control: stock transport": {stock, true}, "cured": {cured, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, c.kind)
				require.NoError(t, l.a.Apply([]byte("first"), time.Second).Error())
				last, term := l.a.LastIndex(), l.a.CurrentTerm()

				var beat raft.AppendEntriesResponse
				require.NoError(t, l.b.AppendEntries("a", "a", &raft.AppendEntriesRequest{RPCHeader: header, Term: term + 1}, &beat))
				late := l.a.Apply([]byte("late"), time.Second).Error()
				require.Error(t, late)

				theirs := &raft.Log{Index: last + 1, Term: term + 1, Type: raft.LogCommand, Data: []byte("theirs")}
				var resp raft.AppendEntriesResponse
				require.NoError(t, l.b.AppendEntries("a", "a", &raft.AppendEntriesRequest{
					RPCHeader: header, Term: term + 1, PrevLogEntry: last, PrevLogTerm: term,
					Entries: []*raft.Log{theirs}, LeaderCommitIndex: last + 1,
				}, &resp))
				require.True(t, resp.Success, "it says that it has the entry")
				synctest.Wait()
				var got raft.Log
				require.NoError(t, l.logs.GetLog(last+1, &got))
				require.Equal(t, term+1, got.Term)
				if c.forks {
					require.Equal(t, []string{"first", "late"}, l.fsm.applied, "the control does not fork any more: is the cure still needed?")
				} else {
					require.ErrorIs(t, late, raft.ErrNotLeader)
					require.Equal(t, []string{"first", "theirs"}, l.fsm.applied)
				}
			})
		})
	}
}
