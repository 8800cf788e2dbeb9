package drill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// brief is a drill whose members end at once.
func brief(dir string) Config {
	return Config{Program: "/bin/true", Daemon: "kv", Fault: Kill, Rounds: 1, Input: MakeInput("kv", 200, 1), Dir: dir}
}

func left(t *testing.T) []os.DirEntry {
	in, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	return in
}

// An interrupted drill says so, with a directory of the user's as without.
func TestInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, dir := range []string{"", t.TempDir()} {
		rep, err := Run(ctx, brief(dir))
		require.Error(t, err)
		require.Nil(t, rep)
	}
	require.Empty(t, left(t))
}

// A directory in which nothing has run yet is of no use to anybody.
func TestNothingIsLeftOfADrillThatDoesNotBegin(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the longest path differs")
	}
	dir := t.TempDir()
	for len(dir) < 4040-100 {
		dir = filepath.Join(dir, strings.Repeat("d", 90))
	}
	dir = filepath.Join(dir, strings.Repeat("d", 4040-len(dir))) // too long for what is founded in it
	require.NoError(t, os.MkdirAll(dir, 0o700))
	t.Setenv("TMPDIR", dir)
	_, err := Run(t.Context(), brief(""))
	require.ErrorContains(t, err, "name too long")
	require.Empty(t, left(t))
}

// A proof that was not fetched because the drill was interrupted did not fail.
func TestInterruptionIsNoFailedProof(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var r Round
	require.NoError(t, r.proven(ctx, nil))
	require.Equal(t, proofOK, r.Proof)
	require.NoError(t, r.proven(ctx, errors.New("no link")))
	require.Equal(t, "no link", r.Proof)
	cancel()
	require.ErrorIs(t, r.proven(ctx, context.Canceled), context.Canceled)
}
