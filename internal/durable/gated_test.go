package durable_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// Nothing changes the disk past the gate, and everything can still be read.
func TestGated(t *testing.T) {
	full := errors.New("full")
	var gate error
	under := durable.OS(t.TempDir())
	fs := durable.Gated(under, func() error { return gate }).Sub(".")
	require.NoError(t, fs.MkdirAll("d"))
	require.NoError(t, fs.WriteFile("d/a", []byte("one")))
	f, err := fs.Open("d/a", false)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("two"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())

	gate = full
	_, err = f.WriteAt([]byte("xxx"), 0)
	require.ErrorIs(t, err, full)
	_, err = fs.Open("d/new", true)
	require.ErrorIs(t, err, full)
	for what, err := range map[string]error{
		"truncate": f.Truncate(0), "sync": f.Sync(), "write": fs.WriteFile("d/b", nil), "rename": fs.Rename("d/a", "d/b"),
		"remove": fs.Remove("d/a"), "remove all": fs.RemoveAll("d"), "mkdir": fs.MkdirAll("e"), "sync dir": fs.SyncDir("d"),
		"in a directory": fs.Sub("d").WriteFile("a", nil),
	} {
		require.ErrorIs(t, err, full, what)
	}
	names, err := fs.List("d")
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	b, err := fs.ReadFile("d/a", 10)
	require.NoError(t, err)
	require.Equal(t, "two", string(b))
}
