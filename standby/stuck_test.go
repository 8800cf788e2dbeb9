package standby

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// A member loses an election for which its leader had asked to a third one,
// which then ends as well. Its vote is needed, and it must not keep it for a
// leader that is gone.
func TestLoserOfAnElectionAtRequestVotesAgain(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 5, newTally, func(cfg *Config) { cfg.NoCrashDetection = true })
		c.must("p", 1, "x")
		c.settled()
		first := c.active().cfg.Member
		var names []string
		for name := range c.members {
			if name != first {
				names = append(names, name)
			}
		}
		loser, winner, rest := names[0], names[1], names[2:]
		b, w := c.members[loser].group().node.Load(), c.members[winner].group().node.Load()
		c.kill(first)
		c.sw.Isolate(loser, rest...) // nobody votes for it
		c.sw.Delay(time.Millisecond) // both stand before either hears of the other
		b.trans.StandForElection(t.Context())
		w.trans.StandForElection(t.Context())
		c.eventually("the loser stands, and knows the winner", func() bool {
			_, leader := b.raft.LeaderWithID()
			return leader == raft.ServerID(winner)
		})
		require.Equal(t, raft.Candidate, b.raft.State())
		c.sw.Delay(0)
		c.sw.Isolate(loser, winner) // its log stays behind: it cannot win
		c.must("p", 2, "y")
		c.kill(winner)
		c.sw.Heal()
		ended := time.Now()
		c.must("p", 3, "z")
		require.Less(t, time.Since(ended), 30*time.Second)
		c.check()
	})
}
