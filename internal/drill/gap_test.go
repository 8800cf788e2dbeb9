package drill

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// An outage is found between receipts that are resent, early and late.
func TestGap(t *testing.T) {
	g := newGap(3)
	base := g.newest
	ack := func(ms int, term uint64, duplicate bool) {
		at := base.Add(time.Duration(ms) * time.Millisecond)
		g.take(&standby.Receipt{Term: term, Duplicate: duplicate}, at, at.Add(-time.Millisecond))
	}
	ack(1, 2, true) // left over from the outage before this one
	ack(3, 3, false)
	ack(10, 3, false)
	require.False(t, g.over)
	ack(500, 3, true) // by the new active, of what the old one had committed
	ack(501, 2, true)
	require.False(t, g.over)
	ack(505, 4, false)
	require.True(t, g.over)
	require.Equal(t, 490.0, g.ms())
	require.Equal(t, base.Add(10*time.Millisecond), g.last)
	ack(2000, 4, false) // a pause afterwards is no part of it
	require.Equal(t, 490.0, g.ms())
	require.Equal(t, time.Millisecond, g.longest, "no event was on its way any longer")
}
