package standby

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killedAheadOfC kills the active, a or b, after an event that only c has besides,
// and waits for the next one.
func (c *cluster) killedAheadOfC(n uint64) (victim string, took time.Duration) {
	victim = c.active().cfg.Member
	c.sw.Isolate(victim, map[string]string{"a": "b", "b": "a"}[victim])
	c.must("p", n, "only c has it besides")
	start := time.Now()
	c.kill(victim)
	c.sw.Heal()
	c.active()
	return victim, time.Since(start)
}

// A member that is never active and has the freshest log gives the role to one
// that lives, not to the active that has just died.
func TestNeverActiveGivesTheRoleToTheLiving(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.NeverActive = cfg.Member == "c" })
		require.Equal(t, "c", c.f.Roster.Members[2].Name)
		c.must("p", 1, "x")
		c.settled()
		c.sw.Delay(time.Millisecond)
		n := uint64(1)
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
			n++
			c.must("p", n, "load")
		}
		_, took := c.killedAheadOfC(n + 1)
		require.Less(t, took, time.Second)
		c.check()
	})
}

// Giving the role up because it may never have it is no fault that is given a rest.
func TestNeverActiveGivesTheRoleUpEachTime(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.NeverActive = cfg.Member == "c" })
		c.must("p", 1, "x")
		c.settled()
		time.Sleep(3 * time.Second)
		n := uint64(1)
		for range 5 {
			victim, took := c.killedAheadOfC(n + 1)
			require.Less(t, took, 5*time.Second)
			n += 2
			c.must("p", n, "after")
			c.start(victim)
			c.settled()
			time.Sleep(5 * time.Second)
		}
		c.check()
	})
}
