package client

import (
	"io"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// Whatever left by the end is told, while the connection goes on taking: an
// event that left unnoticed would be sent twice.
func TestFeedEndTellsAllThatLeft(t *testing.T) {
	ev := standby.Event{Payload: make([]byte, 32<<10)}
	for range 3000 {
		f := newFeed()
		var read atomic.Int64
		begun, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			b := make([]byte, 7)
			for first := true; ; first = false {
				n, err := f.Read(b)
				read.Add(int64(n))
				if first {
					close(begun)
				}
				if err != nil {
					return
				}
			}
		}()
		f.put(&ev)
		<-begun
		left := f.end()
		<-done
		require.Equal(t, left, read.Load())
		_, err := f.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	}
}
