package faultseam_test

import (
	"io"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/env"
	"github.com/understudy-ha/understudy/internal/faultseam"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func open(t *testing.T) (*env.Faults, func(string)) {
	dir, f := t.TempDir(), testkit.Founding(3)
	require.NoError(t, faultseam.Mark(dir, f.Origin()))
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	faults, err := faultseam.Open(filepath.Join(dir, "a"), f, r)
	require.NoError(t, err)
	return faults, func(command string) { io.WriteString(w, command+"\n") }
}

func eventually(t *testing.T, ok func() bool) {
	require.Eventually(t, ok, 30*time.Second, time.Millisecond)
}

func TestObeysItsDrill(t *testing.T) {
	faults, say := open(t)
	require.NoError(t, faults.Write())
	require.WithinDuration(t, time.Now(), faults.Now(), time.Minute)

	say(faultseam.Full)
	eventually(t, func() bool { return faults.Write() != nil })
	require.ErrorIs(t, faults.Write(), syscall.ENOSPC)
	say(faultseam.Heal)
	eventually(t, func() bool { return faults.Write() == nil })

	say(faultseam.Stall)
	// What is said first is done first: once the clock is off, writes are held.
	say(faultseam.Clock + " -1h")
	eventually(t, func() bool { return time.Until(faults.Now()) < -59*time.Minute })
	done := make(chan error)
	go func() { done <- faults.Write() }()
	select {
	case <-done:
		t.Fatal("a write of a stalled disk returned")
	case <-time.After(50 * time.Millisecond):
	}
	say("nonsense")
	say(faultseam.Heal)
	require.NoError(t, <-done)
	require.WithinDuration(t, time.Now(), faults.Now(), time.Minute)
}

// Nobody but the members that a drill founded takes faults.
func TestRefusesOtherMembers(t *testing.T) {
	dir, f := t.TempDir(), testkit.Founding(3)
	_, err := faultseam.Open(filepath.Join(dir, "a"), f, nil)
	require.ErrorContains(t, err, "not founded by a drill")
	require.NoError(t, faultseam.Mark(dir, testkit.Founding(5).Origin()))
	_, err = faultseam.Open(filepath.Join(dir, "a"), f, nil)
	require.ErrorContains(t, err, "not founded by a drill", "a member that was copied under a drill's directory")
}
