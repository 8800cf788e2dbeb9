package standby

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/host"
)

// ailing is a daemon that is unhealthy while its machine is.
type ailing struct {
	tally
	sick *atomic.Bool
}

func (d *ailing) Health() host.Health {
	if d.sick.Load() {
		return host.Health{State: host.Unhealthy, Reason: "no light"}
	}
	return host.Health{}
}

// A member that lost the role for its daemon's health is not shown as unhealthy
// for ever: its next daemon is another one.
func TestHealthIsThatOfTheDaemonOfNow(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var sick atomic.Bool
		c := newCluster(t, 3, func() host.Daemon { return &ailing{sick: &sick} }, func(cfg *Config) { cfg.SyncInterval = time.Second })
		c.must("p", 1, "x")
		c.settled()
		old := c.active()
		sick.Store(true)
		c.eventually("the role is lost", func() bool { return old.Status().Role != RoleActive })
		sick.Store(false)
		c.must("p", 2, "y")
		c.eventually("it has another daemon", func() bool { return old.position(0).Health == "healthy" })
	})
}
