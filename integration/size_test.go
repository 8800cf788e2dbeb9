package integration

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// room is how many bytes a member's data directory has, without and with the
// Raft log, whose files are made in one size.
func (m *member) room() (stores, all int64, err error) {
	err = filepath.WalkDir(m.data(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all += info.Size()
		if !strings.HasPrefix(path, filepath.Join(m.data(), "raft", "log")) {
			stores += info.Size()
		}
		return nil
	})
	return stores, all, err
}

// A group whose active was killed again and again takes hardly more room on the
// disks, after the same input, a sync and a rest, than one that never was: what
// each promotion leaves is its handoff, and what each crash left is cleaned up.
//
//	UNDERSTUDY_SIZE_KILLS=500    kills (4)
func TestRoomAfterKills(t *testing.T) {
	kills := number(t, "UNDERSTUDY_SIZE_KILLS", 4)
	if raced || testing.Short() {
		kills = min(kills, 3)
	}
	const each = 400
	input := plan{daemon: "ledger", events: (kills + 1) * each, lasts: patience * 60}
	calm := newStage(t, input)
	calm.finish()
	calm.await("waiting for the log to be cut", func(context.Context) error {
		files, err := filepath.Glob(filepath.Join(calm.members[0].data(), "raft", "log", "*.seg"))
		if err == nil && len(files) > 2 {
			err = fmt.Errorf("it has %d files", len(files))
		}
		return err
	})
	stores, all, err := calm.members[0].room()
	require.NoError(t, err)
	for _, m := range calm.members {
		m.Kill()
	}

	s := newStage(t, input)
	for range kills {
		s.busy(each)
		victim, st := s.active()
		s.kill(victim)
		s.after(st.Term)
		s.start(victim)
		s.healthy()
	}
	s.finish()
	_, st := s.active()
	slack := 8192 * int64(st.Term)
	fits := func(m *member) error {
		itsStores, itsAll, err := m.room()
		switch {
		case err != nil:
			return err
		case itsStores > stores+stores/10+slack:
			return fmt.Errorf("%d bytes beside the log after %d kills and %d terms, %d without", itsStores, kills, st.Term, stores)
		case itsAll > all+all/10+slack:
			return fmt.Errorf("%d bytes after %d kills and %d terms, %d without", itsAll, kills, st.Term, all)
		}
		t.Logf("%s: %d bytes beside the log (%d without kills), %d in all (%d)", m.name, itsStores, stores, itsAll, all)
		return nil
	}
	for _, m := range s.members {
		s.await("waiting for "+m.name+" to clean up", func(context.Context) error { return fits(m) })
	}
	left := filepath.Join(s.members[0].data(), "outputs", "left.tmp")
	require.NoError(t, os.WriteFile(left, make([]byte, 2*(stores/10+slack)), 0o600))
	require.Error(t, fits(s.members[0]), "what a crash left is not noticed")
}
