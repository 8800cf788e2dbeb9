package peernet_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// pair runs a test on virtual time with the transports of two members.
func pair(t *testing.T, f func(t *testing.T, a, b raft.Transport, na peernet.Network)) {
	synctest.Test(t, func(t *testing.T) {
		found := testkit.Founding(2)
		s := peernet.NewSwitch()
		var nets []peernet.Network
		var trs []raft.Transport
		for i, m := range testkit.Names(2) {
			n, err := s.Network(identity(found, m, byte(i), 1), testkit.Keys(m).Log, found.Roster, durable.NewMem().Sub("x"))
			require.NoError(t, err)
			nets, trs = append(nets, n), append(trs, peernet.NewTransport(n, m, nil, 5*time.Second, hclog.NewNullLogger()))
		}
		defer func() {
			for i := range trs {
				trs[i].(raft.WithClose).Close()
				nets[i].Close()
			}
		}()
		f(t, trs[0], trs[1], nets[0])
	})
}

// A heartbeat that is handled beside Raft's main loop can change its term
// between two statements (hashicorp/raft issue 695).
func TestHeartbeatsGoThroughTheMainLoop(t *testing.T) {
	pair(t, func(t *testing.T, a, b raft.Transport, _ peernet.Network) {
		b.SetHeartbeatHandler(func(rpc raft.RPC) {
			t.Error("a heartbeat was handled on its connection's goroutine")
			rpc.Respond(&raft.AppendEntriesResponse{}, nil)
		})
		go func() {
			rpc := <-b.Consumer()
			rpc.Respond(&raft.AppendEntriesResponse{Term: 7, Success: true}, nil)
		}()
		beat := raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("a"), Addr: []byte("a")}, Term: 7}
		var answer raft.AppendEntriesResponse
		require.NoError(t, a.AppendEntries("b", "b", &beat, &answer))
		require.Equal(t, uint64(7), answer.Term)
	})
}

// Pipelined replication can deadlock (hashicorp/raft issue 612): it is off.
func TestNoPipelining(t *testing.T) {
	pair(t, func(t *testing.T, a, b raft.Transport, _ peernet.Network) {
		_, err := a.AppendEntriesPipeline("b", "b")
		require.ErrorIs(t, err, raft.ErrPipelineReplicationNotSupported)
	})
}

// A sender that falls silent within a message must not hold Raft's main loop,
// which could not vote meanwhile; between messages it may take its time, for
// connections are kept.
func TestSilenceWithinAMessageEndsTheConnection(t *testing.T) {
	pair(t, func(t *testing.T, a, b raft.Transport, na peernet.Network) {
		c, err := na.Dial(t.Context(), "b", peernet.Raft)
		require.NoError(t, err)
		defer c.Close()
		ended := make(chan time.Time, 1)
		go func() {
			io.Copy(io.Discard, c)
			ended <- time.Now()
		}()
		time.Sleep(5 * time.Minute)
		require.Empty(t, ended, "nothing was asked yet")
		start := time.Now()
		_, err = c.Write([]byte{0}) // AppendEntries, and then nothing
		require.NoError(t, err)
		require.LessOrEqual(t, (<-ended).Sub(start), 10*time.Second)
	})
}
