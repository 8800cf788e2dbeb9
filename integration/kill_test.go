package integration

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// All members lose power at once, under load, again and again. What was
// acknowledged is there, in order, once.
func TestAllKilledAtOnce(t *testing.T) {
	s := newStage(t, plan{daemon: "ledger", events: 8000})
	for range 3 {
		s.busy(2000)
		s.kill(s.members...)
		s.start(s.members...)
		s.healthy()
	}
	s.finish()
}

// Two of three are lost: nothing is acknowledged until one is back.
func TestMajorityKilled(t *testing.T) {
	slow(t)
	s := newStage(t, plan{daemon: "kv", events: 16000})
	for range 3 {
		s.busy(1500)
		active, st := s.active()
		other := s.standby()
		s.kill(active, other)
		for _, m := range s.members {
			if m.Running() {
				_, err := post(s.ctx, m.url, event("lonely", 1, "put k v"))
				require.Error(t, err, "a single member acknowledges")
			}
		}
		acked := s.acked()
		s.allow(2000)
		s.start(other)
		s.after(st.Term)
		s.untilAcked(acked + 1000)
		s.start(active)
		s.healthy()
	}
	s.finish()
}

// Each member in turn is told to stop, as for an upgrade. Each leaves in order,
// the role moves on, and no producer notices more than a delay.
func TestRollingRestart(t *testing.T) {
	s := newStage(t, plan{daemon: "ledger", events: 10000})
	for _, m := range s.members {
		s.busy(2500)
		s.stop(m)
		s.start(m)
		s.healthy()
	}
	s.finish()
}
