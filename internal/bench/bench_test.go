package bench

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// ^C while a group or a floor starts leaves nothing behind.
func TestInterruptedStartLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &Case{Path: Client, Payload: 128, Concurrency: 1, Batch: 1, Members: 1, Store: standby.RaftStoreFile}
	for _, name := range []string{product, Packed} {
		cfg := &Config{Program: "/bin/true", Dir: dir, Measure: time.Second}
		_, err := cfg.open(ctx, name, c)
		require.ErrorIs(t, err, context.Canceled, name)
		in, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, in, name)
	}
}

func TestGroupThatCannotBeFoundedLeavesNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the longest path differs")
	}
	dir := t.TempDir()
	for len(dir) < 4060-100 {
		dir = filepath.Join(dir, strings.Repeat("d", 90))
	}
	dir = filepath.Join(dir, strings.Repeat("d", 4060-len(dir))) // too long for what is founded in it
	require.NoError(t, os.MkdirAll(dir, 0o700))
	_, err := newPlace(dir, 1)
	require.ErrorContains(t, err, "name too long")
	in, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, in)
}

// A member that ends while its group starts does not come back: nobody waits
// for it until patience ends.
func TestMemberThatEndedIsNotWaitedFor(t *testing.T) {
	c := &Case{Path: Client, Payload: 128, Concurrency: 1, Batch: 1, Members: 1, Store: standby.RaftStoreFile}
	for _, name := range []string{product, Packed} {
		cfg := &Config{Program: "/bin/true", Dir: t.TempDir(), Measure: time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		_, err := cfg.open(ctx, name, c)
		require.NoError(t, ctx.Err(), name)
		require.ErrorContains(t, err, "member a has ended", name)
		cancel()
	}
}

// What was measured before a case failed is not lost with it.
func TestFailedCaseLeavesTheOthersResults(t *testing.T) {
	good := Case{Path: Embedded, Payload: 128, Concurrency: 1, Batch: 1, Members: 1, Store: standby.RaftStoreFile}
	bad := good
	bad.Path = Client
	rep, err := Run(t.Context(), Config{Program: "/nowhere/understudy", Dir: t.TempDir(), Cases: []Case{good, bad}, Runs: 1, Measure: 50 * time.Millisecond})
	require.ErrorContains(t, err, "client, 128 B")
	require.NotNil(t, rep)
	require.Len(t, rep.Results, 1)
	require.Equal(t, Embedded, rep.Results[0].Path)
}
