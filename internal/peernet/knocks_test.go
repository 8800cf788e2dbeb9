package peernet_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/peernet"
)

// Strangers who only connect, and say nothing, do not keep a member out.
func TestStrangersKeepNobodyOut(t *testing.T) {
	w := newWorld(t)
	a, b := w.join(identity(w.f, "a", 1, 1)), w.join(identity(w.f, "b", 2, 1))
	defer a.Close()
	defer b.Close()
	for range 400 {
		c, err := net.Dial("tcp", w.peers["b"])
		require.NoError(t, err)
		defer c.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := a.Dial(ctx, "b", peernet.Raft)
	require.NoError(t, err)
	c.Close()
}
