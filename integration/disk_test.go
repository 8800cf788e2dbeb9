package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stash copies a stopped member's data directory; the function that it returns
// puts the copy back in place of whatever is there.
func stash(t *testing.T, m *member) (back func()) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(copied, os.DirFS(m.data())))
	return func() {
		t.Helper()
		require.NoError(t, os.RemoveAll(m.data()))
		require.NoError(t, os.CopyFS(m.data(), os.DirFS(copied)))
		fixModes(t, m.data())
	}
}

// fixModes undoes what copying made of the files' modes.
func fixModes(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	}))
}

// refusedByPeers waits until the others' status says that they do not talk to
// a member, and sees that it takes no part.
func (s *stage) refusedByPeers(m *member, why string) {
	s.t.Helper()
	s.await("waiting for a note of the refusal", func(ctx context.Context) error {
		_, st, err := s.find(ctx, 0)
		if err != nil {
			return err
		}
		for _, note := range st.Notes {
			if strings.Contains(note, "refused: "+m.name+" by "+st.Member) && strings.Contains(note, why) {
				return nil
			}
		}
		return fmt.Errorf("%s notes %q", st.Member, st.Notes)
	})
	s.await("waiting for the refused member to know why", func(ctx context.Context) error {
		st, err := m.client.Status(ctx)
		if err == nil && !strings.Contains(strings.Join(st.Notes, "\n"), why) {
			err = fmt.Errorf("%s notes %q", m.name, st.Notes)
		}
		return err
	})
}

// A member whose disk was wiped must not vote under its old name: it could
// elect a leader that lacks what its disk had acknowledged.
func TestWipedDisk(t *testing.T) {
	s := newStage(t, plan{daemon: "ledger", events: 4000})
	m := s.standby()
	s.busy(1000)
	s.kill(m)
	back := stash(t, m)

	require.NoError(t, os.RemoveAll(m.data()))
	s.refusesToStart(m, "this is a wiped disk")

	// With a fresh copy of what init made it starts, and nobody talks to it.
	require.NoError(t, os.RemoveAll(m.data()))
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "bootstrap"), nil, 0o600))
	s.start(m)
	s.refusedByPeers(m, "its disk was wiped or replaced; the operator must rejoin it")
	s.busy(1000)
	s.stop(m)

	// An identity without its stores, or stores without their identity.
	require.NoError(t, os.RemoveAll(filepath.Join(m.data(), "raft")))
	s.refusesToStart(m, "this is a wiped disk")
	back()
	require.NoError(t, os.Remove(filepath.Join(m.data(), "identity")))
	s.refusesToStart(m, "but no identity file")

	back()
	s.start(m)
	s.healthy()
	s.finish()
}

// A disk that was put back to an earlier day has forgotten votes and entries
// that it gave its word for.
func TestRolledBackDisk(t *testing.T) {
	for name, restarts := range map[string]int{"one run ago": 1, "three runs ago": 3} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, plan{daemon: "ledger", events: 4000})
			m := s.standby()
			s.busy(500)
			s.kill(m)
			back := stash(t, m)
			for range restarts {
				s.start(m)
				s.healthy()
				s.busy(500)
				s.kill(m)
			}
			now := stash(t, m)
			back()
			s.start(m)
			s.refusedByPeers(m, "its disk was put back to an earlier state; the operator must rejoin it")
			s.busy(500)
			s.kill(m)
			now()
			s.start(m)
			s.healthy()
			s.finish()
		})
	}
}
