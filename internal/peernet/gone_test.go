package peernet

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What listens for a member whose process is gone may accept and close at once:
// a proxy in front of a container, a load balancer.
func TestGoneDialsAtAPace(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var dialled atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			c.Close()
		}
	}()
	n := &tlsNet{cfg: Config{Peers: map[string]string{"a": ln.Addr().String()}}}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.False(t, n.Gone(ctx, "a"))
	require.Less(t, dialled.Load(), int64(100))
}
