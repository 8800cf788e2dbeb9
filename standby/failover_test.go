package standby

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		var want []string
		sum := 0
		send := func(n int) {
			p := fmt.Sprintf("event %d", n)
			sum += len(p)
			r := c.must("p", uint64(n), p)
			require.False(t, r.Duplicate && r.Outputs != 1)
			want = append(want, fmt.Sprintf("%d/%d %s", n, sum, p))
		}
		n := 0
		for range 4 {
			for range 25 {
				n++
				send(n)
			}
			victim := c.active().cfg.Member
			c.kill(victim)
			n++
			send(n)
			c.start(victim)
		}
		c.check()
		for _, m := range c.members {
			require.Equal(t, want, c.outputs(m.g))
		}
	})
}
