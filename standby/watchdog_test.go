package standby

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// sleepy hangs on what it is told to hang on, until it is released.
type sleepy struct {
	tally
	until <-chan struct{}
	in    string
}

func (d *sleepy) hang(where string) {
	if d.in == where {
		<-d.until
	}
}

func (d *sleepy) Process(ev chain.Event) ([][]byte, error) {
	if string(ev.Payload) == "hang" {
		<-d.until
	}
	return d.tally.Process(ev)
}

func (d *sleepy) Snapshot() ([]byte, error) { d.hang("snapshot"); return d.tally.Snapshot() }
func (d *sleepy) Restore(b []byte) error    { d.hang("restore"); return d.tally.Restore(b) }
func (d *sleepy) Query(q []byte) ([]byte, error) {
	if string(q) == "hang" {
		<-d.until
	}
	return d.tally.Query(q)
}

func sleepyCluster(t *testing.T, in string, tune ...func(*Config)) (*cluster, func()) {
	until := make(chan struct{})
	c := newCluster(t, 3, func() host.Daemon { return &sleepy{until: until, in: in} }, tune...)
	c.alone = newTally
	return c, sync.OnceFunc(func() { close(until) })
}

// An event on which the daemon hangs is recorded as refused, within the same
// term, and is the same to whoever replays it.
func TestHangingEventIsRefused(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "")
		defer release()
		term := c.must("p", 1, "x").Term
		r := c.must("p", 2, "hang")
		require.True(t, r.Refused)
		require.Contains(t, r.Reason, "hangs")
		require.Equal(t, term, r.Term)
		require.False(t, c.must("p", 3, "y").Refused)
		c.kill(c.active().cfg.Member)
		require.False(t, c.must("p", 4, "z").Refused)
		c.check()
	})
}

func TestHangingQuery(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "")
		defer release()
		c.must("p", 1, "x")
		_, err := c.active().Query(t.Context(), []byte("hang"), false)
		require.ErrorIs(t, err, errHung)
		ans, err := c.active().Query(t.Context(), nil, false)
		require.NoError(t, err)
		require.Equal(t, "1 1", string(ans.Data))
		c.must("p", 2, "y")
		c.check()
	})
}

// A snapshot that never ends is reported; events go on.
func TestHangingSnapshot(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "snapshot", func(cfg *Config) { cfg.SyncInterval = 5 * time.Minute })
		defer release()
		c.must("p", 1, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.active().Sync(ctx)
		require.ErrorIs(t, err, errHung)
		require.Contains(t, fmt.Sprint(c.active().Status().Notes), "taking a snapshot: the daemon hangs")
		c.must("p", 2, "y")
		c.check()
	})
}

// A process in which the daemon hangs again and again ends itself: what hangs
// cannot be ended otherwise.
func TestTooManyHangsEndTheProcess(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "")
		defer release()
		a := c.active()
		for n := uint64(1); n <= maxLeftBehind; n++ {
			require.True(t, c.must("p", n, "hang").Refused)
		}
		require.Same(t, a, c.active())
		require.True(t, c.must("p", maxLeftBehind+1, "hang").Refused)
		<-a.Done()
		require.ErrorContains(t, a.Err(), "restart the member")
		require.False(t, c.must("p", maxLeftBehind+2, "x").Refused)
		c.kill(a.cfg.Member)
		c.check()
	})
}

// An active whose disk stops steps down within the stall timeout, says why, and
// is active again only when it has been well for a while. Raft alone keeps it
// for good.
func TestStalledDiskEndsTheRole(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		old := c.active()
		disk := c.members[old.cfg.Member].disk
		disk.stall()
		stopped := time.Now()
		_, err := old.Deliver(t.Context(), Event{Producer: "p", Sequence: 2, Payload: []byte("y")})
		require.ErrorIs(t, err, ErrUncertain)
		r := c.must("p", 2, "y")
		require.Less(t, time.Since(stopped), 2*old.cfg.StallTimeout+time.Second)
		require.Greater(t, r.Term, uint64(2))
		require.Contains(t, fmt.Sprint(old.Status().Notes), "the disk has not finished a write")
		disk.repair()
		c.must("p", 3, "z")
		require.ErrorContains(t, old.eligible(), "recovers")
		time.Sleep((recovery + 1) * old.cfg.StallTimeout)
		require.NoError(t, old.eligible())
		c.check()
	})
}

// Members that stalled one after the other would rather not be active, but one
// of them is when there is nobody else.
func TestMembersThatRecoverServeIfNobodyElseDoes(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		for n := uint64(2); n <= 4; n++ {
			old := c.active()
			disk := c.members[old.cfg.Member].disk
			disk.stall()
			stopped := time.Now()
			c.must("p", n, "y")
			cfg := &old.cfg
			require.Less(t, time.Since(stopped), 2*cfg.StallTimeout+3*(cfg.Heartbeat+cfg.Election), "round %d", n)
			disk.repair()
		}
		c.check()
	})
}

// A member that ends does not wait for what it asked one that hangs.
func TestEndDoesNotWaitForAHangingMember(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		a := c.active()
		for name, m := range c.members {
			if name != a.cfg.Member {
				m.disk.stall()
				defer m.disk.repair()
				break
			}
		}
		c.must("p", 2, "y")
		began := time.Now()
		n := a.node.Load()
		n.cancel(errRestart)
		c.eventually("its Raft is another one", func() bool { return a.node.Load() != n })
		require.Less(t, time.Since(began), 3*time.Second)
	})
}

// A transfer of leadership that fails leaves a Raft that takes no entry any more
// (hashicorp/raft issue 696): it is restarted, and the group goes on.
func TestFailedTransferRestartsRaft(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		c.settled()
		a := c.active()
		var to string
		for name := range c.members {
			if name != a.cfg.Member {
				to = name
			}
		}
		c.members[to].disk.stall() // it cannot even vote for itself
		n := a.node.Load()
		moved, err := a.handOver(t.Context(), n, n.active.Load(), to)
		require.False(t, moved)
		require.ErrorIs(t, err, ErrUncertain, "the other one may still win")
		require.ErrorContains(t, err, "restarts its part in the group")
		c.must("p", 2, "y")
		c.eventually("its Raft is another one", func() bool { return a.node.Load() != n })
		c.members[to].disk.repair()
		c.check()
	})
}

// A disk that does not come back ends the process. In real time: a future of
// Raft's never returns then, which a simulation would not let pass.
func TestDeadDiskEndsTheProcess(t *testing.T) {
	c := newCluster(t, 3, newTally, func(cfg *Config) {
		cfg.StallTimeout = 200 * time.Millisecond
		cfg.Heartbeat, cfg.Election, cfg.Lease = 500*time.Millisecond, 500*time.Millisecond, 250*time.Millisecond
	})
	c.must("p", 1, "x")
	old := c.active()
	disk := c.members[old.cfg.Member].disk
	disk.stall()
	c.must("p", 2, "y")
	c.eventually("the member ends", func() bool { return old.Err() != nil })
	require.ErrorContains(t, old.Err(), "has not returned")
	disk.repair()
	c.kill(old.cfg.Member)
	c.check()
}
