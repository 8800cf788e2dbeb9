package standby

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// The end of the active's connections is noticed long before a heartbeat is
// missed; without crash detection it takes Raft's timeouts.
func TestCrashIsNoticedAtOnce(t *testing.T) {
	for _, members := range []int{3, 5} {
		for _, off := range []bool{false, true} {
			simulate(t, func(t *testing.T) {
				c := newCluster(t, members, newTally, func(cfg *Config) { cfg.NoCrashDetection = off })
				n := uint64(0)
				for range 10 {
					n++
					c.must("p", n, "before")
					c.settled()
					time.Sleep(time.Second)
					victim := c.active().cfg.Member
					start := time.Now()
					c.kill(victim)
					n++
					c.must("p", n, "after")
					took := time.Since(start)
					if off {
						require.Greater(t, took, time.Second)
					} else {
						require.Less(t, took, 300*time.Millisecond)
					}
					c.start(victim)
				}
				c.check()
			})
		}
	}
}

// Whom a crash makes candidate at the same time, or with a log that is too old,
// does not wait for Raft's timeouts after the lost election.
func TestLostElectionIsFollowedByAnother(t *testing.T) {
	for _, split := range []bool{false, true} {
		simulate(t, func(t *testing.T) {
			c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.Heartbeat, cfg.Election = 20*time.Second, 20*time.Second })
			c.must("p", 1, "x")
			c.settled()
			victim := c.active().cfg.Member
			others := c.others(victim)
			stale, fresh := c.members[others[0]].group(), c.members[others[1]].group()
			if !split {
				c.sw.Isolate(victim, stale.cfg.Member)
			}
			c.must("p", 2, "y")
			if split {
				c.settled()
				c.sw.Isolate(others[0], others[1])
			}
			c.kill(victim)
			stale.node.Load().trans.StandForElection(t.Context())
			if split {
				fresh.node.Load().trans.StandForElection(t.Context())
			}
			time.Sleep(10 * time.Millisecond)
			require.Equal(t, raft.Candidate, stale.node.Load().raft.State())
			c.sw.Heal()
			start := time.Now()
			c.must("p", 3, "z")
			require.Less(t, time.Since(start), time.Second)
			c.check()
		})
	}
}

// A connection that ends is no crash: the member still listens.
func TestResetConnectionIsNoCrash(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		term := c.must("p", 1, "x").Term
		for range 20 {
			c.sw.Reset(c.active().cfg.Member)
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, term, c.must("p", 2, "y").Term)
		c.check()
	})
}
