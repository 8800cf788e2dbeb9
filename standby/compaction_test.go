package standby

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A member that never lives long lets go of old entries all the same: what it
// replays at a start does not grow from one to the next.
func TestShortLivesReplayLittle(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.TrailingLogs = 64 })
		n := uint64(0)
		for range 12 {
			for range 40 {
				n++
				c.must("p", n, "event")
			}
			victim := c.active().cfg.Member
			c.kill(victim)
			c.start(victim)
			time.Sleep(3 * time.Second) // less than SnapshotInterval
		}
		for name, m := range c.members {
			first, err := m.log.FirstIndex()
			require.NoError(t, err)
			last, err := m.log.LastIndex()
			require.NoError(t, err)
			require.Greater(t, last, uint64(12*40))
			require.Less(t, last-first, uint64(5*64), name)
		}
		c.check()
	})
}

// When hardly anything comes any more the log is emptied but for a few entries. A
// member that was away then, and one that starts from such a log, go on.
func TestLogAtRest(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		for n := range uint64(1000) {
			c.must("p", n+1, "event")
		}
		away := c.standby().cfg.Member
		c.kill(away)
		for n := range uint64(20) {
			c.must("p", 1001+n, "event")
		}
		time.Sleep(15 * time.Second)
		held := func(name string) uint64 {
			first, err := c.members[name].log.FirstIndex()
			require.NoError(t, err)
			last, err := c.members[name].log.LastIndex()
			require.NoError(t, err)
			return last + 1 - first
		}
		for name := range c.members {
			if name != away {
				require.LessOrEqual(t, held(name), uint64(restKept+16), name)
			}
		}
		c.start(away)
		active := c.active().cfg.Member
		c.must("p", 1021, "event")
		c.kill(active)
		c.start(active)
		c.must("p", 1022, "event")
		c.check()
	})
}

// A member that got a Raft snapshot and nothing after it has an empty log. It
// is at rest: it does not make the same snapshot again and again.
func TestEmptyLogRests(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		for n := range uint64(1000) {
			c.must("p", n+1, "event")
		}
		time.Sleep(20 * time.Second) // everybody has the newest checkpoint
		away := c.standby().cfg.Member
		c.kill(away)
		for range 50 {
			_, err := c.active().Query(t.Context(), nil, false)
			require.NoError(t, err)
		}
		time.Sleep(30 * time.Second)
		c.start(away)
		c.settled()
		time.Sleep(30 * time.Second)
		m := c.members[away]
		first, err := m.log.FirstIndex()
		require.NoError(t, err)
		require.Zero(t, first, "its log is empty")
		newest := func() string {
			l, err := m.snaps.List()
			require.NoError(t, err)
			return l[0].ID
		}
		was := newest()
		time.Sleep(time.Minute)
		require.Equal(t, was, newest(), "another snapshot of the same")
	})
}
