package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// small gives every member a disk of its own, in memory, of a few megabytes.
func small(t *testing.T) func(*stage) {
	return func(s *stage) {
		for _, m := range s.members {
			require.NoError(t, os.Mkdir(m.data(), 0o700))
			if err := syscall.Mount("tmpfs", m.data(), "tmpfs", 0, "size=64m,mode=0700"); err != nil {
				t.Skipf("no disk of its own for %s: %v", m.name, err)
			}
			t.Cleanup(func() { // after the group has ended
				if err := syscall.Unmount(m.data(), syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// fill leaves no room on a member's disk. The function that it returns makes it again.
func fill(t *testing.T, m *member) (room func()) {
	t.Helper()
	name := filepath.Join(m.data(), "ballast")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	for chunk := 1 << 20; chunk > 0; {
		if _, err = f.Write(make([]byte, chunk)); err != nil {
			chunk /= 16
		}
	}
	require.ErrorIs(t, errors.Join(err, f.Close()), syscall.ENOSPC)
	return func() {
		t.Helper()
		require.NoError(t, os.Remove(name))
	}
}

// The disk of the active, or of a standby, is full. That member says so, and
// stops if it cannot store what it must; the group serves, and with room on its
// disk the member is well again.
func TestFullDisk(t *testing.T) {
	slow(t)
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	s := newStage(t, plan{daemon: "kv", events: 16000, before: small(t)})
	for round := range 3 {
		s.busy(1500)
		victim, st := s.active()
		if round%2 == 1 {
			victim = s.standby()
		}
		before := len(victim.log())
		room := fill(t, victim)
		s.allow(2500)
		s.await("waiting for a word about the disk", func(context.Context) error {
			if !strings.Contains(victim.log()[before:], "no space left on device") {
				return errors.New("it says nothing")
			}
			return nil
		})
		if victim.name == st.Active && !victim.Running() {
			s.after(st.Term)
		}
		s.serves(200)
		room()
		if !victim.Running() {
			s.start(victim)
		}
		s.healthy()
	}
	s.finish()
}
