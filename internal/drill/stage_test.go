package drill

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// The phases of an outage are as long as it, and in their places.
func TestPhasesOf(t *testing.T) {
	last := time.Now()
	at := func(ms int) time.Time { return last.Add(time.Duration(ms) * time.Millisecond) }
	out := gap{last: last, first: at(1000)}
	known := map[string]float64{"detect": 5, "elect": 20, "barrier": 10, "restore": 0, "replay": 30, "fence": 15, "active": 25}
	p := &standby.Promotion{Time: at(860), PhasesMillis: known}
	require.Equal(t, map[string]float64{"detect": 800, "elect": 20, "barrier": 10, "restore": 0, "replay": 30, "fence": 15, "active": 25, "serve": 100}, phasesOf(p, out))
	require.Equal(t, 5.0, known["detect"], "the promotion is not changed")

	p.Time = at(3_600_000) // of a clock that is off
	require.Equal(t, map[string]float64{"detect": 5, "elect": 20, "barrier": 10, "restore": 0, "replay": 30, "fence": 15, "active": 25, "serve": 895}, phasesOf(p, out))
}

// An outage after the takeover counts as one before it does.
func TestSecondOutageIsLate(t *testing.T) {
	s := &stage{drill: &drill{load: new(load)}, victim: &member{name: "a"}, tookOver: true, max: time.Second, r: &Round{UnavailableMS: 40}}
	s.load.gap.longest = 900 * time.Millisecond
	s.after()
	require.Empty(t, s.r.Failure)
	s.load.gap.longest = 5 * time.Second
	s.after()
	require.Contains(t, s.r.Failure, "5000 ms")
}

func TestLateIsTheLongestOutage(t *testing.T) {
	require.Empty(t, late(time.Second, gap{longest: 900 * time.Millisecond}, 40))
	require.Contains(t, late(time.Second, gap{longest: 5 * time.Second}, 40), "5000 ms")
	require.Contains(t, late(time.Second, gap{}, 1400), "1400 ms")
	require.Empty(t, late(0, gap{longest: time.Hour}, 40), "no bound")
}

// A script that waits for a part of the lines does not stop the producers, who
// were allowed more: the fault would hit a group at rest.
func TestWhatWasAllowedStaysAllowed(t *testing.T) {
	l := &load{cfg: new(Config)}
	l.moved = sync.NewCond(&l.mu)
	l.allow(90, 0)
	l.allow(70, 0)
	require.Equal(t, 90, l.allowed)
}
