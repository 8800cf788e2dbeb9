package drill

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/internal/faultproxy"
	"github.com/understudy-ha/understudy/internal/faultseam"
	"github.com/understudy-ha/understudy/standby"
)

// lastsFor is about how long a member's restart takes: the time over which a
// round's lines are spread meanwhile.
const lastsFor = 1500 * time.Millisecond

// The scripts of the faults. Each begins with a healthy group at work and ends
// with nothing broken any more; the round then waits for the group's health and
// compares.

func kill(ctx context.Context, s *stage) error {
	s.note("%s is killed", s.active.name)
	if err := s.active.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	return s.dead(ctx)
}

func term(ctx context.Context, s *stage) error {
	s.note("%s is told to stop", s.active.name)
	if err := s.active.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.dead(ctx)
}

// dead waits for another active and starts the old one again.
func (s *stage) dead(ctx context.Context) error {
	if err := s.takeover(ctx); err != nil {
		return err
	}
	if err := s.ended(ctx, s.active); err != nil {
		return err
	}
	s.note("%s starts again", s.active.name)
	return s.active.Start()
}

// ended waits for the end of a member's process. That it does not end is
// something to report, not to wait for.
func (s *stage) ended(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Patience, fmt.Errorf("not within %v", s.cfg.Patience))
	defer cancel()
	if err := m.Wait(ctx); err != nil {
		return fmt.Errorf("%s does not stop: %w", m.name, err)
	}
	return nil
}

func pause(ctx context.Context, s *stage) error {
	s.note("%s is frozen", s.active.name)
	if err := s.active.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := s.takeover(ctx)
	s.note("%s goes on", s.active.name)
	return errors.Join(err, s.active.Signal(syscall.SIGCONT))
}

func switchover(ctx context.Context, s *stage) error {
	s.note("the role is handed over")
	if err := s.ask(ctx, "a switchover", func(ctx context.Context) error {
		_, err := s.group.client.Switchover(ctx, "")
		return err
	}); err != nil {
		return err
	}
	return s.takeover(ctx)
}

func stepDown(ctx context.Context, s *stage) error {
	s.note("%s is asked to step down", s.active.name)
	if err := s.ask(ctx, "stepping down", func(ctx context.Context) error {
		_, err := s.group.client.StepDown(ctx, time.Second)
		return err
	}); err != nil {
		return err
	}
	return s.takeover(ctx)
}

// ask asks the group for something until it does it. A refusal changes nothing;
// what is not known shows in what follows.
func (s *stage) ask(ctx context.Context, what string, call func(context.Context) error) error {
	return s.group.await(ctx, what, func(ctx context.Context) error {
		err := call(ctx)
		if errors.Is(err, standby.ErrUncertain) {
			return nil
		}
		return err
	})
}

func partition(ctx context.Context, s *stage) error { return s.cut(ctx, true, true) }
func oneWayIn(ctx context.Context, s *stage) error  { return s.cut(ctx, true, false) }
func oneWayOut(ctx context.Context, s *stage) error { return s.cut(ctx, false, true) }

// cut cuts the active's lines until another member serves.
func (s *stage) cut(ctx context.Context, in, out bool) error {
	what := map[[2]bool]string{{true, true}: "from and to", {true, false}: "to", {false, true}: "from"}[[2]bool{in, out}]
	s.note("the lines %s %s are cut", what, s.active.name)
	s.cutLines(in, out)
	err := s.takeover(ctx)
	s.note("the lines are mended")
	s.group.mesh.All(faultproxy.Rule{})
	return err
}

func (s *stage) cutLines(in, out bool) {
	if in {
		s.group.mesh.In(s.active.name, faultproxy.Rule{Cut: true})
	}
	if out {
		s.group.mesh.Out(s.active.name, faultproxy.Rule{Cut: true})
	}
}

func diskStall(ctx context.Context, s *stage) error {
	s.note("the disk of %s is stuck", s.active.name)
	if err := s.active.Say(faultseam.Stall); err != nil {
		return err
	}
	s.spread(0.95, lastsFor) // a disk that nobody writes to is not noticed
	s.limit(stallTimeout + 10*s.timing.Election + 2*time.Second)
	err := s.takeover(ctx)
	s.note("the disk of %s goes on", s.active.name)
	s.active.Say(faultseam.Heal) // it may have ended by itself
	return errors.Join(err, s.group.revive(ctx))
}

func diskFull(ctx context.Context, s *stage) error {
	s.note("the disk of %s is full", s.active.name)
	if err := s.active.Say(faultseam.Full); err != nil {
		return err
	}
	s.spread(0.95, lastsFor)
	if err := s.takeover(ctx); err != nil {
		return err
	}
	if err := s.ended(ctx, s.active); err != nil {
		return fmt.Errorf("after a write failed: %w", err)
	}
	s.note("%s starts again with room on its disk", s.active.name)
	return s.active.Start()
}

func slowNet(ctx context.Context, s *stage) error {
	d := time.Duration(10+s.rng.IntN(30)) * time.Millisecond
	s.note("every line takes %v more each way and carries 2 MiB/s", d)
	s.group.mesh.All(faultproxy.Rule{Delay: d, Rate: 2 << 20})
	err := s.work(ctx, 1)
	s.note("the lines are mended")
	s.group.mesh.All(faultproxy.Rule{})
	return err
}

func clock(ctx context.Context, s *stage) error {
	skew := time.Hour
	if s.number%2 == 1 {
		skew = -skew
	}
	s.note("the clock of %s is off by %v", s.active.name, skew)
	if err := s.active.Say(faultseam.Clock + " " + skew.String()); err != nil {
		return err
	}
	if err := s.work(ctx, 0.7); err != nil {
		return err
	}
	err := switchover(ctx, s)
	s.note("the clock of %s is right", s.active.name)
	return errors.Join(err, s.active.Say(faultseam.Heal))
}

func corrupt(ctx context.Context, s *stage) error {
	if err := s.group.sync(ctx, "a sync"); err != nil { // so that there is something of each kind
		return err
	}
	m := s.standby()
	s.spread(0.9, lastsFor)
	if err := s.restart(ctx, m, func() error {
		what, err := flipByte(m.dir, s.number, s.rng)
		s.note("%s is stopped, %s", m.name, what)
		return err
	}); err != nil {
		return err
	}
	s.victim = m
	if err := s.work(ctx, 1); err != nil {
		return err
	}
	return s.group.sync(ctx, "a sync after the damage")
}

func syncKill(ctx context.Context, s *stage) error {
	syncing := make(chan struct{})
	asking, stop := context.WithCancel(ctx) // it may wait for a member that does not come back
	go func() {
		defer close(syncing)
		s.active.client.Sync(asking) // its answer, if any, does not matter
	}()
	pause := time.NewTimer(time.Duration(s.rng.IntN(30_000)) * time.Microsecond)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-syncing:
	}
	err := kill(ctx, s)
	stop()
	<-syncing
	return err
}

func rollingRestart(ctx context.Context, s *stage) error {
	order := make([]*member, 0, len(s.group.members))
	for _, m := range s.group.members {
		if m != s.active {
			order = append(order, m)
		}
	}
	for i, m := range append(order, s.active) {
		s.note("%s restarts", m.name)
		s.spread(0.6+0.4*float64(i+1)/float64(len(s.group.members)), lastsFor)
		if err := s.restart(ctx, m, nil); err != nil {
			return err
		}
	}
	return nil
}

// restart stops a member in order, does something to it, and starts it again.
func (s *stage) restart(ctx context.Context, m *member, between func() error) error {
	if err := m.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.ended(ctx, m); err != nil {
		return err
	}
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	if err := m.Start(); err != nil {
		return err
	}
	return s.group.healthy(ctx)
}

func flap(ctx context.Context, s *stage) error {
	const times = 6
	for i := range times {
		if err := s.group.await(ctx, "waiting for an active", func(ctx context.Context) error {
			st, err := s.group.status(ctx)
			if err == nil {
				s.active, err = s.group.member(st.Member)
			}
			return err
		}); err != nil {
			return err
		}
		d := time.Duration((0.3 + 1.2*s.rng.Float64()) * float64(s.timing.Heartbeat+s.timing.Election))
		s.note("the lines of %s are cut for %v", s.active.name, d.Round(time.Millisecond))
		s.spread(0.6+0.4*float64(i+1)/times, d)
		s.cutLines(true, true)
		if err := sleep(ctx, d); err != nil {
			return err
		}
		s.group.mesh.All(faultproxy.Rule{})
		if err := sleep(ctx, d/2); err != nil {
			return err
		}
	}
	s.note("the lines are mended")
	return s.work(ctx, 1)
}

func allDown(ctx context.Context, s *stage) error {
	s.note("all members are killed")
	for _, m := range s.group.members {
		if err := m.Signal(syscall.SIGKILL); err != nil {
			return err
		}
	}
	for _, m := range s.group.members {
		if err := s.ended(ctx, m); err != nil {
			return err
		}
	}
	s.note("all members start again")
	for _, m := range s.group.members {
		if err := m.Start(); err != nil {
			return err
		}
	}
	return s.takeoverBy(ctx, nil)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
