package standby

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSkewIsFromTheMedian(t *testing.T) {
	const h = time.Hour
	for _, c := range []struct {
		what   string
		behind []time.Duration
		skew   time.Duration
	}{
		{"alone", nil, 0},
		{"one other, nobody knows who is wrong", []time.Duration{h}, 0},
		{"both others agree that it is ahead", []time.Duration{h, h + time.Second}, h},
		{"both others agree that it is behind", []time.Duration{-h, -h}, -h},
		{"another one is off", []time.Duration{0, h}, 0},
		{"all differ, it is in the middle", []time.Duration{-h, h}, 0},
		{"three of five agree against it", []time.Duration{h, h, h, 0}, h},
		{"two of four agree with it", []time.Duration{h, h, 0}, 0},
	} {
		var s seen
		s.put("silent", nil, 0, 0, errors.New("no answer"))
		for i, b := range c.behind {
			s.put(string(rune('b'+i)), &position{}, 0, b, nil)
		}
		require.Equal(t, c.skew, s.skew(), c.what)
	}
}

// A member whose wall clock is off is passed over, says why, and is back as
// soon as its clock is right.
func TestSkewedMemberIsNotPromoted(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		first := c.active().cfg.Member
		var off string
		for name := range c.members {
			if name != first {
				off = name
			}
		}
		g := c.members[off].group()
		c.members[off].ahead.Store(int64(time.Hour))
		c.eventually("it is not eligible", func() bool { return !g.position(0).Eligible })
		require.Contains(t, g.position(0).Reason, "off by 1h0m0s")
		c.kill(first)
		c.must("p", 2, "y")
		require.NotEqual(t, off, c.active().cfg.Member)
		c.start(first)
		c.members[off].ahead.Store(0)
		c.eventually("it is eligible", func() bool { return g.position(0).Eligible })
		c.check()
	})
}
