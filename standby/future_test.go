package standby

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A transfer of leadership that a Raft takes in when it has ended already is
// answered, though not by Raft: else its goroutine would be there for ever.
func TestTransfersEndWithTheirRaft(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		n := c.active().node.Load()
		c.stop()
		for range 30 { // one of two is taken in, while there is room
			require.Error(t, n.heard(n.raft.LeadershipTransfer()))
		}
	})
}
