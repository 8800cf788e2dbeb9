//go:build !race

package peernet

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// pipelining is our transport with Raft's own default of requests in flight.
func pipelining(n Network, self string) raft.Transport {
	return noFastPath{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  newStreamLayer(n, self, new(atomic.Bool)),
		MaxPool: poolSize, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger(),
	})}
}

type noFastPath struct{ *raft.NetworkTransport }

func (noFastPath) SetHeartbeatHandler(func(raft.RPC)) {}

// wedges runs failovers of three bare Rafts until a member never catches up
// again, or leaves goroutines behind that nothing can wake.
func wedges(t *testing.T, rounds int, transport func(Network, string) raft.Transport) (wedged bool) {
	leaks := bubble(t, func(t *testing.T) {
		sw := NewSwitch()
		var rafts []*raft.Raft
		for _, m := range []string{"a", "b", "c"} {
			tr := transport(simNetwork(t, sw, m), m)
			cfg, disk, snaps := quickRaft(m), raft.NewInmemStore(), raft.NewInmemSnapshotStore()
			require.NoError(t, raft.BootstrapCluster(cfg, disk, disk, snaps, tr, threeServers()))
			r, err := raft.NewRaft(cfg, &words{}, disk, disk, snaps, tr)
			require.NoError(t, err)
			rafts = append(rafts, r)
			t.Cleanup(func() {
				down := make(chan error, 1)
				go func() { down <- r.Shutdown().Error() }()
				select {
				case <-down:
				case <-time.After(time.Minute):
				}
				tr.(raft.WithClose).Close()
			})
		}
		for range rounds {
			if !failover(t, sw, rafts) {
				wedged = true
				return
			}
		}
	})
	return wedged || leaks
}

// failover cuts the leader off under load, and says whether all members have
// everything within two minutes after the line is whole again.
func failover(t *testing.T, sw *Switch, rafts []*raft.Raft) bool {
	var leader *raft.Raft
	name := ""
	for leader == nil {
		time.Sleep(50 * time.Millisecond)
		for i, r := range rafts {
			if r.State() == raft.Leader && r.VerifyLeader().Error() == nil {
				leader, name = r, string(rune('a'+i))
			}
		}
	}
	for range 10 {
		leader.Apply([]byte("x"), time.Second)
	}
	sw.Isolate(name, "a", "b", "c")
	for range 10 {
		leader.Apply([]byte("y"), time.Second)
	}
	time.Sleep(5 * time.Second)
	sw.Heal()
	for range 2 * 60 * 10 {
		time.Sleep(100 * time.Millisecond)
		if i := rafts[0].AppliedIndex(); i > 0 && i == rafts[1].AppliedIndex() && i == rafts[2].AppliedIndex() && i >= leader.LastIndex() && leader.State() == raft.Follower {
			return true
		}
	}
	return false
}

// Pipelined replication deadlocks now and then when a leader is deposed
// (hashicorp/raft issue 612): a member is not replicated to again, or Raft does
// not stop. With one request in flight it does not happen.
func TestPipelining(t *testing.T) {
	const rounds = 30
	t.Run("control: pipelining", func(t *testing.T) {
		for i := range 100 { // it wedges in one of four
			if wedges(t, rounds, pipelining) {
				t.Logf("wedged in run %d", i)
				return
			}
		}
		require.Fail(t, "the control does not wedge any more: is the cure still needed?")
	})
	t.Run("cured", func(t *testing.T) {
		for range 8 {
			require.False(t, wedges(t, rounds, func(n Network, self string) raft.Transport {
				return NewTransport(n, self, nil, 5*time.Second, hclog.NewNullLogger())
			}))
		}
	})
}
