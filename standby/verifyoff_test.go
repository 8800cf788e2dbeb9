package standby

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/fsm"
)

// Without verified syncs the floor moves as well: else the journal would fill up
// and the group be busy for good.
func TestFloorMovesWithoutVerification(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.VerifySync, cfg.MaxJournalSteps = VerifyOff, 20 })
		for n := range uint64(100) {
			c.must("p", n+1, fmt.Sprint("event ", n))
		}
		var floor uint64
		c.active().node.Load().machine.Read(func(s *fsm.State) { floor = s.Floor() })
		require.Positive(t, floor)
		c.kill(c.active().cfg.Member)
		c.must("p", 101, "after")
		c.check()
	})
}
