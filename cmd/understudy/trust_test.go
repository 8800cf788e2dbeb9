package main

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is no plain file, as /dev/null, is written to and stays what it is.
func TestSaveToADevice(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	r, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that the writer need not wait
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, save(io.Discard, pipe, []byte("head")))
	st, err := os.Stat(pipe)
	require.NoError(t, err)
	require.False(t, st.Mode().IsRegular(), "it was replaced by a file")
	b := make([]byte, 4)
	_, err = io.ReadFull(r, b)
	require.NoError(t, err)
	require.Equal(t, "head", string(b))
}
