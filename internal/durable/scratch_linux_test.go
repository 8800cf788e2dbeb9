package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// A page that the kernel cannot give, as on a disk that cannot be read or that is
// full, is a failed write and not the end of the process.
func TestScratchThatFaults(t *testing.T) {
	dir := t.TempDir()
	s, err := durable.OS(dir).Scratch("page", 4096)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, os.Truncate(filepath.Join(dir, "page"), 0)) // there is nothing to map any more
	_, err = s.WriteAt([]byte("here"), 100)
	require.ErrorContains(t, err, "page")
	require.NoError(t, os.Truncate(filepath.Join(dir, "page"), 4096))
	_, err = s.WriteAt([]byte("here"), 100)
	require.NoError(t, err)
}
