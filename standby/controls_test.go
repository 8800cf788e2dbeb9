package standby

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A power cut of all members at once loses nothing that was acknowledged. The
// control: with fsync switched off it does, and the comparison sees it.
func TestPowerCutOfAll(t *testing.T) {
	for name, off := range map[string]bool{"control: fsync off": true, "fsync on": false} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				c := newCluster(t, 3, newTally)
				send := func(from, to uint64) {
					for n := from; n <= to; n++ {
						c.must("p", n, fmt.Sprintf("event %d", n))
					}
				}
				send(1, 10)
				c.settled()
				if off {
					for _, m := range c.members {
						m.log.fsyncOff()
					}
				}
				send(11, 20)
				for name := range c.members {
					c.kill(name)
				}
				for name := range c.members {
					c.start(name)
				}
				c.settled()
				last, known, err := c.active().Session(t.Context(), "p")
				require.NoError(t, err)
				require.True(t, known)
				if off {
					require.Less(t, last, uint64(20), "the control loses nothing")
					return
				}
				require.Equal(t, uint64(20), last)
				c.check()
			})
		})
	}
}

// stuckFuture is one of a Raft that went down: it is never answered.
type stuckFuture struct{ never chan struct{} }

func (f stuckFuture) Error() error  { <-f.never; return nil }
func (f stuckFuture) Index() uint64 { return 0 }
func (f stuckFuture) Response() any { return nil }

// A future that is never answered has an outcome all the same: uncertain.
func TestFutureThatNeverReturns(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 1, newTally)
		a := c.active().node.Load().active.Load()
		f := stuckFuture{make(chan struct{})}
		defer close(f.never)
		start := time.Now()
		_, err := a.await(f)
		require.Equal(t, c.active().cfg.CommitTimeout, time.Since(start))
		require.ErrorIs(t, outcome(err), ErrUncertain)
	})
}
