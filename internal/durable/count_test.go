package durable_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// Every way to the disk and every byte is counted, and nothing else.
func TestCountSeesEverySync(t *testing.T) {
	var n, written atomic.Uint64
	mem := durable.NewMem()
	fs := durable.Count(mem.Sub("root"), &n, &written).Sub("d")
	require.NoError(t, fs.MkdirAll("."))
	f, err := fs.Open("f", true)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	require.NoError(t, err)
	require.Zero(t, n.Load(), "nothing was synced yet")
	require.NoError(t, f.Sync())
	require.NoError(t, fs.SyncDir("."))
	require.Equal(t, uint64(2), n.Load())
	require.NoError(t, fs.WriteFile("g", []byte("y")))
	require.NoError(t, fs.Rename("g", "h"))
	require.NoError(t, f.Datasync())
	require.Equal(t, uint64(7), n.Load())
	require.Equal(t, uint64(2), written.Load())
}
