package peernet

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A request that never ends is cut off: Raft's transport would take it into
// memory whatever its length. After an answer the next one has all the room.
func TestEndlessMessageIsCutOff(t *testing.T) {
	from, to := net.Pipe()
	defer from.Close()
	c := &guarded{Conn: to, muted: new(atomic.Bool)}
	defer c.Close()
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	}()
	_, err := io.CopyN(io.Discard, c, maxMessage)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, c)
	require.ErrorIs(t, err, io.ErrShortBuffer)
	require.Less(t, n, int64(1<<20))
	c.inside, c.received = false, 0 // as an answer leaves it
	_, err = io.CopyN(io.Discard, c, 1<<20)
	require.NoError(t, err)
}
