package raftstore

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A write that hangs for too long is said once, and nothing watches the store
// any more: who hangs in it does not close it.
func TestWatchEndsWithTheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		g := newGuard(Options{FatalAfter: 10 * time.Second, OnFatal: func(err error) { told <- err }})
		release := make(chan struct{})
		go g.write("x", func() error { <-release; return nil })
		require.ErrorContains(t, <-told, "has not returned")
		close(release)
		require.ErrorIs(t, g.write("y", func() error { return nil }), ErrFailed)
	}) // it would wait for the watch
}
