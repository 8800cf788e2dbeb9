package standby

import (
	"context"
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

// A batch with more bytes than the queue may hold finds room when nothing waits:
// it would be told to come again for ever.
func TestBatchOverTheQueuesBytes(t *testing.T) {
	q := newIntake(8, 2*pendingOverhead)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // its caller does not wait
	batch := make([]Event, 3)
	require.NotErrorIs(t, q.submit(ctx, newSubmission(batch))[0].Err, ErrBusy)
	require.Len(t, q.ch, 1)
	require.ErrorIs(t, q.submit(ctx, newSubmission(batch))[0].Err, ErrBusy)
	require.ErrorIs(t, q.submit(ctx, newSubmission(batch[:1]))[0].Err, ErrBusy)
	s := <-q.ch
	require.False(t, s.claim())
	q.release(s)
	require.Zero(t, q.bytes.Load())
}
