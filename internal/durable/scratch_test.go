package durable_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// What is written to a scratch file is there for who opens it next, without a
// sync and without a close.
func TestScratch(t *testing.T) {
	gate := func() error { return nil }
	for name, fs := range map[string]durable.FS{
		"files": durable.OS(t.TempDir()), "memory": durable.NewMem().Sub("d"), "gated": durable.Gated(durable.OS(t.TempDir()), gate),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := fs.Scratch("page", 4096)
			require.NoError(t, err)
			require.NoError(t, s.Touch())
			_, err = s.WriteAt([]byte("here"), 100)
			require.NoError(t, err)
			b, err := fs.ReadFile("page", 4096)
			require.NoError(t, err)
			require.Len(t, b, 4096)
			require.Equal(t, "here", string(b[100:104]))
			again, err := fs.Scratch("page", 4096)
			require.NoError(t, err)
			_, err = again.WriteAt([]byte("t"), 100)
			require.NoError(t, err)
			b, err = fs.ReadFile("page", 4096)
			require.NoError(t, err)
			require.Equal(t, "tere", string(b[100:104]))
			require.NoError(t, again.Close())
			require.NoError(t, s.Close())
		})
	}
}

// A goroutine that was left behind may write when all is closed.
func TestScratchIsClosed(t *testing.T) {
	fs := durable.OS(t.TempDir())
	s, err := fs.Scratch("page", 4096)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = s.WriteAt([]byte("late"), 0)
	require.Error(t, err)
}

// The gate stands where the disk is waited for.
func TestScratchIsGated(t *testing.T) {
	full := errors.New("full")
	var now error
	fs := durable.Gated(durable.NewMem().Sub("d"), func() error { return now })
	s, err := fs.Scratch("page", 4096)
	require.NoError(t, err)
	now = full
	require.ErrorIs(t, s.Touch(), full)
	_, err = fs.Scratch("other", 4096)
	require.ErrorIs(t, err, full)
}
