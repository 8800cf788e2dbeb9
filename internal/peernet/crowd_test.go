package peernet_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/peernet"
)

// Calls between two members, of which clients may cause many, take no place
// from Raft. One too many says what is the matter.
func TestCallsLeaveRoomForRaft(t *testing.T) {
	w := newWorld(t)
	a, b := w.join(identity(w.f, "a", 1, 1)), w.join(identity(w.f, "b", 2, 1))
	defer a.Close()
	defer b.Close()
	calls, raft := b.Listener(peernet.RPC), b.Listener(peernet.Raft)
	for range 64 {
		_, err := a.Dial(t.Context(), "b", peernet.RPC)
		require.NoError(t, err)
		_, err = calls.Accept()
		require.NoError(t, err)
	}
	c, err := a.Dial(t.Context(), "b", peernet.Raft)
	require.NoError(t, err)
	s, err := raft.Accept()
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	go s.Write([]byte("x"))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)

	_, err = a.Dial(t.Context(), "b", peernet.RPC)
	require.ErrorContains(t, err, "64 connections")
	require.NotErrorIs(t, err, net.ErrClosed)
}
