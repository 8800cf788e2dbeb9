package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/faultseam"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby/client"
)

// member is one process and its directory.
type member struct {
	local.Process
	name, dir, url, peer string
	client               *client.Client // asks this member alone
}

// data is where a member keeps what it must not lose.
func (m *member) data() string { return filepath.Join(m.dir, "data") }

// log is what the process and those before it have written.
func (m *member) log() string {
	b, err := os.ReadFile(m.Log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s *stage) start(ms ...*member) {
	s.t.Helper()
	for _, m := range ms {
		require.NoError(s.t, m.Start())
	}
}

// unbreak ends the pause of a process and the faults within it.
func (m *member) unbreak() {
	if m.Running() {
		m.Signal(syscall.SIGCONT)
		if m.Piped {
			m.Say(faultseam.Heal)
		}
	}
}

// kill ends processes at the same moment, without warning.
func (s *stage) kill(ms ...*member) {
	s.t.Helper()
	for _, m := range ms {
		require.NoError(s.t, m.Signal(syscall.SIGKILL))
	}
	for _, m := range ms {
		s.ended(m)
	}
}

// ended waits until a process has ended.
func (s *stage) ended(m *member) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	require.NoErrorf(s.t, m.Wait(ctx), "member %s still runs", m.name)
}

// stop tells processes to stop and waits for an orderly end.
func (s *stage) stop(ms ...*member) {
	s.t.Helper()
	for _, m := range ms {
		before := len(m.log())
		require.NoError(s.t, m.Signal(syscall.SIGTERM))
		s.ended(m)
		require.Contains(s.t, m.log()[before:], `msg=stopped err=<nil>`, "an orderly stop of %s", m.name)
	}
}

// refusesToStart sees a process end by itself, with an error that says why.
func (s *stage) refusesToStart(m *member, why string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, m.Program, m.Args...).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(s.t, err, &exit, "%s starts", m.name)
	require.Equalf(s.t, 1, exit.ExitCode(), "the exit code of a member that cannot start: %s", out)
	require.Contains(s.t, string(out), why)
	s.calm(m.name, string(out))
}

// crashes are the words with which a Go process ends that did not mean to.
var crashes = []string{"panic:", "fatal error:", "SIGSEGV", "SIGBUS", "DATA RACE", "panicked", "unexpected fault address"}

// calm sees to it that no process crashed or raced, whatever was done to it.
func (s *stage) calm(name, log string) {
	s.t.Helper()
	for line := range strings.Lines(log) {
		for _, c := range crashes {
			if strings.Contains(line, c) {
				s.t.Errorf("member %s crashed: %s", name, line)
				return
			}
		}
	}
}
