package peernet

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A connection that is handed to a queue which was closed meanwhile is closed.
func TestPutIntoAClosedQueue(t *testing.T) {
	for range 200 {
		q := newQueue(name("x"))
		a, b := net.Pipe()
		q.Close()
		q.put(a)
		require.Empty(t, q.conns)
		_, err := a.Write([]byte("x"))
		require.Error(t, err)
		b.Close()
	}
}
