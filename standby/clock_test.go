package standby

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A wall clock that is set during a term moves recorded time by a tenth of what
// passes, until they agree again.
func TestClockIsDrawnSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead time.Duration
		c := newClock(func() int64 { return time.Now().Add(ahead).UnixNano() })
		start := c.read()
		passes := func(d time.Duration) time.Duration {
			time.Sleep(d)
			return time.Duration(c.read() - start)
		}
		require.Equal(t, time.Hour, passes(time.Hour), "clocks that agree")
		ahead = 6 * time.Minute
		require.Equal(t, 2*time.Hour+6*time.Minute, passes(time.Hour), "caught up within the hour")
		ahead = -365 * 24 * time.Hour
		require.Equal(t, 3*time.Hour, passes(time.Hour), "slower, but not backwards")
		ahead = 365 * 24 * time.Hour
		require.Equal(t, 4*time.Hour+6*time.Minute, passes(time.Hour))
		require.Equal(t, 4*time.Hour+6*time.Minute, passes(0))
	})
}
