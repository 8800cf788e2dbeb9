package standby

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// Over slow lines a takeover takes no storm of elections.
func TestCrashOverSlowLines(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		c.settled()
		c.sw.Delay(40 * time.Millisecond)
		time.Sleep(5 * time.Second)
		old := c.active()
		term := old.node.Load().raft.CurrentTerm()
		start := time.Now()
		c.kill(old.cfg.Member)
		next := c.active()
		require.Less(t, time.Since(start), 3*time.Second) // Raft's timeouts alone: 2 to 3 s
		require.LessOrEqual(t, next.node.Load().raft.CurrentTerm(), term+6)
		c.must("p", 2, "y")
		c.check()
	})
}

// Two leaders die one after the other, and not everybody has heard of the
// second: whoever is left agrees all the same.
func TestSurvivorsThatLostDifferentLeaders(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 5, newTally)
		c.must("p", 1, "x")
		c.settled()
		time.Sleep(3 * time.Second)
		first := c.active().cfg.Member
		others := c.others(first)
		late := others[3]
		c.sw.Delay(2 * time.Millisecond)
		for _, o := range others[:3] {
			c.sw.Slow(o, late, 50*time.Millisecond)
		}
		leader := func() (found string) {
			for name, m := range c.members {
				if g := m.group(); g != nil && g.node.Load().raft.State() == raft.Leader {
					found = name
				}
			}
			return found
		}
		c.kill(first)
		second := ""
		knows := func(name string) bool {
			_, id := c.members[name].group().node.Load().raft.LeaderWithID()
			return string(id) == second
		}
		for end := time.Now().Add(time.Second); ; time.Sleep(200 * time.Microsecond) {
			require.True(t, time.Now().Before(end), "setup")
			if second = leader(); second == "" {
				continue
			}
			n := 0
			for _, o := range others[:3] {
				if knows(o) {
					n++
				}
			}
			if n == 3 {
				break
			}
		}
		require.NotEqual(t, late, second)
		require.False(t, knows(late))
		c.kill(second)
		c.sw.Heal()
		start := time.Now()
		c.eventually("a third one leads", func() bool { return leader() != "" })
		require.Less(t, time.Since(start), time.Second)
	})
}

// A crash is acted upon also if another one was seen in the same term.
func TestCrashAfterAnOrderlyStop(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 5, newTally, func(cfg *Config) { cfg.Heartbeat, cfg.Election = 20*time.Second, 20*time.Second })
		c.must("p", 1, "x")
		c.settled()
		c.sw.Delay(time.Millisecond)
		a := c.active()
		require.NoError(t, a.Close(t.Context())) // hands over
		c.members[a.cfg.Member].up.Store(nil)
		c.must("p", 2, "y")
		c.settled()
		time.Sleep(time.Minute)
		c.kill(c.active().cfg.Member)
		start := time.Now()
		c.must("p", 3, "z")
		require.Less(t, time.Since(start), time.Second)
		c.check()
	})
}

// A leader that dies before its handoff is followed by another at once, also if
// the first election after it fails.
func TestLeaderThatCrashesBeforeItsHandoff(t *testing.T) {
	shown := 0
	for range 30 {
		simulate(t, func(t *testing.T) {
			c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.Heartbeat, cfg.Election = 20*time.Second, 20*time.Second })
			c.must("p", 1, "x")
			c.settled()
			a := c.active()
			others := c.others(a.cfg.Member)
			b, e := c.members[others[0]].group(), c.members[others[1]].group()
			c.sw.Delay(5 * time.Millisecond)
			b.node.Load().trans.StandForElection(t.Context())
			follows := func(g *Group) bool {
				_, l := g.node.Load().raft.LeaderWithID()
				return string(l) == b.cfg.Member
			}
			for end := time.Now().Add(time.Second); !follows(a) || !follows(e); time.Sleep(200 * time.Microsecond) {
				require.True(t, time.Now().Before(end), "setup")
			}
			if b.Status().Role == RoleActive {
				return // its promotion was faster
			}
			shown++
			c.sw.Isolate(a.cfg.Member, e.cfg.Member) // two stand in one term
			c.kill(b.cfg.Member)
			a.node.Load().trans.StandForElection(t.Context())
			e.node.Load().trans.StandForElection(t.Context())
			time.Sleep(10 * time.Millisecond)
			c.sw.Heal()
			start := time.Now()
			c.must("p", 2, "z")
			require.Less(t, time.Since(start), time.Second)
			c.check()
		})
	}
	require.NotZero(t, shown)
}
