package peernet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// hanging is a disk that hangs in a write.
type hanging struct {
	durable.FS
	begun, release chan struct{}
}

func (h hanging) WriteFile(name string, data []byte) error {
	close(h.begun)
	<-h.release
	return h.FS.WriteFile(name, data)
}

// A disk that hangs while a start of one member is written down keeps neither
// another member out, of which nothing is to be written, nor the status from
// saying who was refused.
func TestHangingMemoryHoldsUpNobody(t *testing.T) {
	g := testGate(t, "a")
	b := started(Identity{Member: "b", StoreID: [16]byte{2}}, 1)
	c := started(Identity{Member: "c", StoreID: [16]byte{3}}, 1)
	require.NoError(t, g.remember(c))
	disk := hanging{g.memory, make(chan struct{}), make(chan struct{})}
	g.memory = disk
	written := make(chan error, 1)
	go func() { written <- g.remember(b) }()
	<-disk.begun

	others := make(chan error, 1)
	go func() {
		g.note("d", &RefusedError{By: "a", Reason: "it is a stranger"})
		if len(g.recent()) != 1 {
			t.Error("it does not say who was refused")
		}
		others <- g.remember(c)
	}()
	select {
	case err := <-others:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		t.Error("they wait for the disk")
	}
	close(disk.release)
	require.NoError(t, <-written)
	require.Equal(t, b.Starts, g.known["b"].starts)
}
