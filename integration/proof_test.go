package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
)

// command runs the understudy command and gives what it printed and its exit code.
func (s *stage) command(dir string, args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// A proof holds on another machine, from copies of the older head, the founding
// record and the proof alone, after the group is gone; and no bit of any of
// them can be changed.
func TestProofOutlivesTheGroup(t *testing.T) {
	s := newStage(t, plan{daemon: "ledger", events: 6000})
	away := t.TempDir()
	cfg := filepath.Join(s.members[0].dir, "member.yaml")
	ok := func(dir string, args ...string) string {
		t.Helper()
		out, code := s.command(dir, args...)
		require.Zero(t, code, out)
		return out
	}
	s.busy(1500)
	ok(s.dir, "head", "--config", cfg, "--file", filepath.Join(away, "before.head"))
	for range continuity.MaxHandoffs + 3 { // more than one bundle shows
		s.await("a switchover", func(ctx context.Context) error {
			_, err := s.client.Switchover(ctx, "")
			return err
		})
	}
	for range 2 {
		s.busy(1500)
		victim, st := s.active()
		s.kill(victim)
		s.after(st.Term)
		s.start(victim)
		s.healthy()
	}
	ok(s.dir, "prove", "--config", cfg, "--head", filepath.Join(away, "before.head"), "--file", filepath.Join(away, "now.proof"))
	founding, err := os.ReadFile(filepath.Join(s.dir, "group", "founding.bin"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(away, "founding.bin"), founding, 0o600))
	s.finish()
	s.stop(s.members...)
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "group")))

	said := ok(away, "verify", "--head", "before.head", "now.proof")
	require.Regexp(t, `continuous from size \d+ to \d+, (2[5-9]|[3-9][0-9]) handoffs; [1-3] members? vouch`, said)
	for _, name := range []string{"now.proof", "before.head", "founding.bin"} {
		good, err := os.ReadFile(filepath.Join(away, name))
		require.NoError(t, err)
		for range 40 {
			bad := bytes.Clone(good)
			bit := s.rng.IntN(8 * len(bad))
			bad[bit/8] ^= 1 << (bit % 8)
			require.NoError(t, os.WriteFile(filepath.Join(away, name), bad, 0o600))
			out, code := s.command(away, "verify", "--head", "before.head", "now.proof")
			require.NotZero(t, code, "bit %d of %s: %s", bit, name, out)
			require.Regexp(t, regexp.MustCompile("^understudy: "), out)
			s.calm("verify", out)
		}
		require.NoError(t, os.WriteFile(filepath.Join(away, name), good, 0o600))
	}
	require.Equal(t, said, ok(away, "verify", "--head", "before.head", "now.proof"))
}
