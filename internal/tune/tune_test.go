package tune_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/tune"
)

const ms = time.Millisecond

func flat(d time.Duration) *tune.Spread { return tune.SpreadOf([]time.Duration{d}) }

func TestPropose(t *testing.T) {
	for name, c := range map[string]struct {
		trip, write time.Duration // 0: not measured
		want        string
		reasons     int
	}{
		"fast":             {ms, 2 * ms, "profile: lan-fast stall_timeout: 2s", 0},
		"just fast":        {25 * ms, 19 * ms, "profile: lan-fast stall_timeout: 2s", 0},
		"disk at the edge": {ms, 20 * ms, "profile: lan stall_timeout: 2s", 1},
		"far":              {26 * ms, 2 * ms, "profile: lan stall_timeout: 2s", 1},
		"both":             {110 * ms, 90 * ms, "profile: wan stall_timeout: 2s", 4},
		"disk only":        {0, 2 * ms, "profile: lan stall_timeout: 2s", 1},
		"lines only":       {ms, 0, "profile: lan stall_timeout: 2s", 1},
		"beyond":           {400 * ms, 2 * ms, "profile: wan heartbeat: 4s election: 4s lease: 2s stall_timeout: 2s", 3},
		"slow disk":        {ms, 300 * ms, "profile: wan heartbeat: 4s election: 4s lease: 2s stall_timeout: 3s", 3},
	} {
		t.Run(name, func(t *testing.T) {
			var m tune.Measured
			if c.trip > 0 {
				m.RoundTrip = flat(c.trip)
			}
			if c.write > 0 {
				m.Fsync = flat(c.write)
			}
			p := tune.Propose(m)
			require.Equal(t, c.want, strings.Join(p.Lines(), " "))
			require.Len(t, p.Reasons, c.reasons, "%v", p.Reasons)
			require.Empty(t, tune.TooTight(p.Timing, m), "what is proposed fits")
		})
	}
}

func TestTooTight(t *testing.T) {
	m := tune.Measured{RoundTrip: flat(30 * ms), Fsync: flat(25 * ms)}
	why := tune.TooTight(config.Profiles()[0].Timing, m)
	require.Len(t, why, 2)
	require.Contains(t, why[0], "round trips up to 25ms, the p99 is 30ms")
	require.Contains(t, why[1], "writes under 20ms, the p99 is 25ms")
}

func TestSpread(t *testing.T) {
	require.Nil(t, tune.SpreadOf(nil))
	var v []time.Duration
	for i := 200; i > 0; i-- {
		v = append(v, time.Duration(i))
	}
	require.Equal(t, &tune.Spread{Count: 200, P50: 100, P99: 198, Max: 200}, tune.SpreadOf(v))
	require.Equal(t, time.Duration(200), v[0], "the samples are not changed")
}

func TestFsyncLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	took, err := tune.Fsync(t.Context(), dir, 5)
	require.NoError(t, err)
	require.Len(t, took, 5)
	for _, d := range took {
		require.Positive(t, d)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tune.Fsync(stopped, dir, 5)
	require.ErrorIs(t, err, context.Canceled)
	_, err = tune.Fsync(t.Context(), dir+"/nowhere", 5)
	require.ErrorIs(t, err, os.ErrNotExist)
}
