package standby

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/host"
)

// A member that is quarantined says of itself what it says to the others: whoever
// probes it must not take it for a standby that can be promoted.
func TestQuarantineIsARole(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var ids atomic.Uint64
		c := newCluster(t, 3, func() host.Daemon { return &wayward{id: ids.Add(1)} }, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "x")
		c.settled()
		c.kill(c.active().cfg.Member)
		c.eventually("a member is quarantined", func() bool {
			for _, m := range c.members {
				if g := m.group(); g != nil && g.quarantine.Load() != nil {
					return true
				}
			}
			return false
		})
		time.Sleep(5 * time.Minute)
		for _, m := range c.members {
			if g := m.group(); g != nil && g.quarantine.Load() != nil {
				st := g.Status()
				require.Equal(t, RoleFailed, st.Role)
				require.Contains(t, st.Reason, "does not replay")
			}
		}
	})
}
