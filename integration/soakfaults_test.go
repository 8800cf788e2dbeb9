package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/faultproxy"
	"github.com/understudy-ha/understudy/internal/faultseam"
	"github.com/understudy-ha/understudy/standby"
)

// means are what a trouble needs of the stage.
type means int

const (
	proxies means = 1 << iota // proxies between the members
	seam                      // members that take faults of disk and clock
	disks                     // a file system for each member
)

// trouble is a fault of a soak. It may leave anything broken that mend mends.
type trouble struct {
	name  string
	needs means
	do    func(*soak) (what string)
}

var (
	hold = faultproxy.Rule{Cut: true}
	cut  = faultproxy.Rule{Reset: true}
)

func troubles() []trouble {
	return []trouble{
		{"kill", 0, func(s *soak) string { return s.moves(func(m *member) { s.kill(m) }) }},
		{"term", 0, func(s *soak) string { return s.moves(func(m *member) { s.signal(m, syscall.SIGTERM) }) }},
		{"pause", 0, func(s *soak) string { return s.moves(func(m *member) { s.signal(m, syscall.SIGSTOP) }) }},
		{"partition", proxies, func(s *soak) string { return s.moves(s.isolate) }},
		{"reset", proxies, func(s *soak) string {
			return s.moves(func(m *member) { s.mesh.In(m.name, cut); s.mesh.Out(m.name, cut) })
		}},
		{"one-way-in", proxies, func(s *soak) string { return s.moves(func(m *member) { s.mesh.In(m.name, hold) }) }},
		{"one-way-out", proxies, func(s *soak) string { return s.moves(func(m *member) { s.mesh.Out(m.name, hold) }) }},
		{"disk-stall", seam, func(s *soak) string { return s.moves(func(m *member) { m.Say(faultseam.Stall) }) }},
		{"disk-full", seam, func(s *soak) string { return s.moves(func(m *member) { m.Say(faultseam.Full) }) }},
		{"standby-kill", 0, func(s *soak) string { return s.beside(func(m *member) { s.kill(m) }) }},
		{"standby-pause", 0, func(s *soak) string { return s.beside(func(m *member) { s.signal(m, syscall.SIGSTOP) }) }},
		{"standby-partition", proxies, func(s *soak) string { return s.beside(s.isolate) }},
		{"standby-disk-stall", seam, func(s *soak) string { return s.beside(func(m *member) { m.Say(faultseam.Stall) }) }},
		{"short-pause", 0, shortPauses},
		{"flap", proxies, flap},
		{"slow-net", proxies, slowNet},
		{"clock", seam, wrongClock},
		{"corrupt", 0, corrupt},
		{"switchover", 0, func(s *soak) string { return s.handOver(switchover) }},
		{"step-down", 0, func(s *soak) string { return s.handOver(stepDown) }},
		{"rolling-restart", 0, rolling},
		{"all-down", 0, func(s *soak) string { s.kill(s.members...); return "all" }},
		{"sync-kill", 0, syncKill},
		{"chaos", proxies | seam, chaos},
		{"power-cut", disks, powerCut},
	}
}

// chosen are the faults of a list of names; of an empty one all that this
// machine can do.
func chosen(t *testing.T, list string) []trouble {
	t.Helper()
	all := troubles()
	if list == "" {
		return slices.DeleteFunc(all, func(f trouble) bool { return f.needs&disks != 0 })
	}
	var out []trouble
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(f trouble) bool { return f.name == name })
		require.GreaterOrEqual(t, i, 0, "no fault is called %q", name)
		out = append(out, all[i])
	}
	return out
}

func (s *soak) isolate(m *member) {
	s.mesh.In(m.name, hold)
	s.mesh.Out(m.name, hold)
}

// moves does something to the active that it cannot stay active with.
func (s *soak) moves(do func(*member)) string {
	s.t.Helper()
	m, st := s.active()
	do(m)
	next, _ := s.after(st.Term)
	s.load.until(s.t, "waiting for service without "+m.name, s.load.acked()+20)
	return fmt.Sprintf("%s, then %s serves", m.name, next.name)
}

// beside does something to a standby. The group goes on.
func (s *soak) beside(do func(*member)) string {
	s.t.Helper()
	m := s.standby()
	do(m)
	s.load.until(s.t, "waiting for service without "+m.name, s.load.acked()+100)
	return m.name
}

func (s *soak) signal(m *member, sig syscall.Signal) {
	s.t.Helper()
	require.NoError(s.t, m.Signal(sig))
}

// pass lets a random time go by while something is broken.
func (s *soak) pass(from, to time.Duration) time.Duration {
	d := from + time.Duration(s.rng.Int64N(int64(to-from)))
	time.Sleep(d)
	return d
}

// shortPauses stop the active for about as long as it takes the others to
// notice, some shorter and some longer.
func shortPauses(s *soak) string {
	m, _ := s.active()
	for range 5 {
		s.signal(m, syscall.SIGSTOP)
		s.pass(20*time.Millisecond, 400*time.Millisecond)
		s.signal(m, syscall.SIGCONT)
		s.pass(10*time.Millisecond, 200*time.Millisecond)
	}
	return m.name + ", five times"
}

func flap(s *soak) string {
	for range 6 {
		m, _ := s.active()
		s.isolate(m)
		s.pass(30*time.Millisecond, 400*time.Millisecond)
		s.mesh.All(faultproxy.Rule{})
		s.pass(20*time.Millisecond, 150*time.Millisecond)
	}
	return "six cuts"
}

func slowNet(s *soak) string {
	r := faultproxy.Rule{Delay: time.Duration(5+s.rng.IntN(30)) * time.Millisecond, Rate: 1 << 20}
	s.mesh.All(r)
	s.load.until(s.t, "waiting for service on slow lines", s.load.acked()+200)
	return r.Delay.String()
}

// wrongClock is off by an hour: within what producers may be idle for.
func wrongClock(s *soak) string {
	m, _ := s.active()
	skew := time.Hour
	if s.rng.IntN(2) == 0 {
		skew = -skew
	}
	m.Say(faultseam.Clock + " " + skew.String())
	s.load.until(s.t, "waiting for service by a wrong clock", s.load.acked()+100)
	return m.name + " by " + skew.String() + ", " + s.handOver(switchover)
}

// corrupt flips a bit of a stopped standby's checkpoints or outputs, which heal.
func corrupt(s *soak) string {
	m := s.standby()
	s.stop(m)
	var files []string
	for _, store := range []string{"checkpoints", "outputs"} {
		found, err := filepath.Glob(filepath.Join(m.data(), store, "*"))
		require.NoError(s.t, err)
		files = append(files, found...)
	}
	s.rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil || len(b) == 0 { // a directory
			continue
		}
		require.NoError(s.t, os.WriteFile(name, flip(s.rng, b, 0, len(b)), 0o600))
		return m.name + ", " + filepath.Base(name)[:min(20, len(filepath.Base(name)))]
	}
	return m.name + ", which holds nothing"
}

// A refusal changes nothing and is asked again; what is not known shows.
func switchover(s *soak, ctx context.Context) error {
	_, err := s.client.Switchover(ctx, "")
	return err
}

func stepDown(s *soak, ctx context.Context) error {
	_, err := s.client.StepDown(ctx, time.Second)
	return err
}

// handOver asks until it is done, or may have been, and waits for another active.
func (s *soak) handOver(ask func(*soak, context.Context) error) string {
	s.t.Helper()
	m, st := s.active()
	s.await("asking for a handover", func(ctx context.Context) error {
		err := ask(s, ctx)
		if errors.Is(err, standby.ErrUncertain) {
			return nil
		}
		return err
	})
	next, _ := s.after(st.Term)
	return fmt.Sprintf("%s to %s", m.name, next.name)
}

func rolling(s *soak) string {
	for _, m := range s.members {
		s.stop(m)
		s.start(m)
		s.healthy()
	}
	return "a, b, c"
}

func syncKill(s *soak) string {
	m, _ := s.active()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.client.Sync(s.ctx) // its answer, if any, does not matter
	}()
	s.pass(0, 30*time.Millisecond)
	what := s.moves(func(*member) { s.kill(m) })
	<-done
	return what
}

// chaos breaks and mends anything at any member, as it comes, also more than
// the group can serve with.
func chaos(s *soak) string {
	names := []string{"a", "b", "c"}
	n := 20 + s.rng.IntN(20)
	for range n {
		m := s.members[s.rng.IntN(3)]
		switch s.rng.IntN(12) {
		case 0:
			m.Kill()
		case 1, 2:
			if !m.Running() {
				s.start(m)
			}
		case 3:
			if m.Running() {
				s.signal(m, syscall.SIGSTOP)
			}
		case 4, 5:
			m.unbreak()
		case 6:
			s.rng.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
			s.mesh.Set(names[0], names[1], hold)
		case 7:
			s.mesh.In(m.name, cut)
		case 8, 9:
			s.mesh.All(faultproxy.Rule{Delay: time.Duration(s.rng.IntN(20)) * time.Millisecond})
		case 10:
			if m.Running() {
				m.Say(faultseam.Stall)
			}
		default:
			ctx, cancel := context.WithTimeout(s.ctx, 500*time.Millisecond)
			s.client.Switchover(ctx, "")
			cancel()
		}
		s.pass(20*time.Millisecond, 300*time.Millisecond)
	}
	return fmt.Sprintf("%d steps", n)
}
