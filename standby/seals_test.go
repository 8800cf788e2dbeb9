package standby

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// A group that loses its active more often than it syncs still syncs: else each
// takeover would have more to replay than the one before.
func TestSyncsWhoeverIsActive(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = 10 * time.Second })
		for n := uint64(1); n <= 12; n++ {
			victim := c.active().cfg.Member
			c.must("p", n, "x")
			time.Sleep(4 * time.Second)
			c.kill(victim)
			c.active()
			c.start(victim)
		}
		var refs []fsm.CheckpointRef
		c.active().node.Load().machine.Read(func(s *fsm.State) { refs = s.Checkpoints() })
		require.NotEmpty(t, refs)
		require.Greater(t, refs[len(refs)-1].Seal.Inputs, uint64(6))
		c.check()
	})
}

// drowsy takes a while to be restored.
type drowsy struct{ tally }

func (d *drowsy) Restore(b []byte) error {
	time.Sleep(20 * time.Second)
	return d.tally.Restore(b)
}

// While the journal is long no checkpoint drives out the one that is being
// verified: what is verified must be there to move the floor.
func TestLongJournalWaitsForAVerification(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return &drowsy{} }, func(cfg *Config) {
			cfg.SyncInterval, cfg.MaxJournalSteps, cfg.VerifySync = time.Hour, 20, VerifyAll
		})
		for n := uint64(1); n <= 60; n++ {
			began := time.Now()
			c.must("p", n, "x")
			require.Less(t, time.Since(began), 30*time.Second, "event %d", n)
			time.Sleep(time.Second)
		}
		c.check()
	})
}
