package standby

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a member has verified is remembered for checkpoints that are in use only.
func TestVerifiedIsForgotten(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.VerifySync = VerifyAll })
		for n := range uint64(12) {
			c.must("p", n+1, fmt.Sprint("event ", n))
			_, err := c.active().Sync(t.Context())
			require.NoError(t, err)
		}
		c.settled()
		r := c.standby().node.Load().replica
		var known int
		require.NoError(t, r.call(t.Context(), func() { known = len(r.verified) }))
		require.Positive(t, known)
		require.LessOrEqual(t, known, 3)
		c.check()
	})
}
