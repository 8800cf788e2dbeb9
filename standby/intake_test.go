package standby

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An event that finds no room leaves the queue as it was: else those that are
// refused for their number would make room for bytes without a bound.
func TestRefusedEventsTakeNoRoom(t *testing.T) {
	for what, q := range map[string]*intake{"events": newIntake(2, 1<<20), "bytes": newIntake(8, 2*pendingOverhead)} {
		q.events.Store(2)
		q.bytes.Store(2 * pendingOverhead)
		require.ErrorIs(t, q.submit(t.Context(), newSubmission([]Event{{}}))[0].Err, ErrBusy)
		require.EqualValues(t, 2, q.events.Load(), what)
		require.EqualValues(t, 2*pendingOverhead, q.bytes.Load(), what)
	}
}
