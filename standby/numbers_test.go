package standby

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A number that was used answers the event that used it, again and again, and
// no other one: its sender would take it for done.
func TestNumberOfAnotherEvent(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		send := func(payload string) Result {
			return c.active().DeliverBatch(t.Context(), []Event{{Producer: "p", Sequence: 1, Payload: []byte(payload)}})[0]
		}
		require.ErrorIs(t, send("y").Err, ErrNumberTaken)
		r := send("x")
		require.NoError(t, r.Err)
		require.True(t, r.Receipt.Duplicate)

		// While its link is missing here, nobody can tell.
		a := c.active()
		require.NoError(t, a.archive.locked(func() error { a.archive.dropped = true; return a.hist.Truncate(1) }))
		for _, payload := range []string{"x", "y"} {
			require.ErrorIs(t, send(payload).Err, ErrUncertain)
		}
		c.eventually("it is fetched", func() bool { return send("x").Err == nil })
		require.ErrorIs(t, send("y").Err, ErrNumberTaken)

		// While the first is in flight.
		res := c.active().DeliverBatch(t.Context(), []Event{
			{Producer: "p", Sequence: 2, Payload: []byte("a")},
			{Producer: "p", Sequence: 2, Payload: []byte("b")},
			{Producer: "p", Sequence: 2, Payload: []byte("a")},
		})
		require.NoError(t, res[0].Err)
		require.ErrorIs(t, res[1].Err, ErrNumberTaken)
		require.NoError(t, res[2].Err)
		require.True(t, res[2].Receipt.Duplicate)
		require.Equal(t, res[0].Receipt.Link, res[2].Receipt.Link)
		c.acked = append(c.acked, ack{Event{Producer: "p", Sequence: 2, Payload: []byte("a")}, res[0].Receipt, ""})
		c.check()
	})
}
