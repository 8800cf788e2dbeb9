package standby

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"
)

// simFault is one way to break a group. at is the member it is meant for.
type simFault struct {
	name   string
	weight int
	lasts  time.Duration // on average, until the next step
	do     func(s *sim, at string)
}

// faultList is everything that a schedule does. Whatever needs an end ends with
// the step: see repairAll.
var faultList = []simFault{
	{"kill", 10, time.Second, func(s *sim, at string) { s.down(at, false) }},
	{"power cut", 10, time.Second, func(s *sim, at string) { s.down(at, true) }},
	{"power cut of all", 2, time.Second, func(s *sim, _ string) {
		for _, name := range s.names {
			s.down(name, true)
		}
	}},
	{"restart", 4, 500 * time.Millisecond, func(s *sim, at string) {
		s.down(at, false)
		m := s.members[at]
		g, err := Open(s.config(at))
		if err != nil { // its disk may fail, or it dies at some write: then it is down until the repair
			require.True(s.t, m.dead.Swap(false) || m.failing.Load() != nil, "%s does not start: %v", at, err)
			return
		}
		m.up.Store(g)
	}},
	{"die at some write", 6, 500 * time.Millisecond, func(s *sim, at string) {
		s.members[at].life.Store(1 + s.rng.Int64N(60))
	}},
	{"isolate", 6, 2 * time.Second, func(s *sim, at string) { s.sw.Isolate(at, s.names...) }},
	{"deafen", 4, 2 * time.Second, func(s *sim, at string) {
		for _, o := range s.others(at) {
			s.sw.Cut(o, at)
		}
	}},
	{"mute", 4, 2 * time.Second, func(s *sim, at string) {
		for _, o := range s.others(at) {
			s.sw.Cut(at, o)
		}
	}},
	{"cut one line", 4, time.Second, func(s *sim, at string) {
		o := s.others(at)[s.rng.IntN(len(s.names)-1)]
		s.sw.Isolate(at, o)
	}},
	{"flap", 3, 0, func(s *sim, at string) {
		for range 2 + s.rng.IntN(4) {
			s.sw.Isolate(at, s.names...)
			time.Sleep(time.Duration((0.3 + 1.2*s.rng.Float64()) * float64(time.Second)))
			s.sw.Heal()
			time.Sleep(time.Duration(s.rng.IntN(500)) * time.Millisecond)
		}
	}},
	{"reset connections", 6, 100 * time.Millisecond, func(s *sim, at string) {
		s.sw.Reset(at)
	}},
	{"lose messages", 4, time.Second, func(s *sim, _ string) { s.sw.Lose(20 + s.rng.IntN(300)) }},
	{"delay", 4, time.Second, func(s *sim, _ string) {
		s.sw.Delay(time.Duration(1+s.rng.IntN(40)) * time.Millisecond)
	}},
	{"slow lines", 3, time.Second, func(s *sim, at string) {
		for _, o := range s.others(at) {
			s.sw.Slow(at, o, time.Duration(50+s.rng.IntN(400))*time.Millisecond)
		}
	}},
	{"stall the disk", 5, 2 * time.Second, func(s *sim, at string) { s.members[at].stall() }},
	{"stall the disk briefly", 5, 100 * time.Millisecond, func(s *sim, at string) {
		s.members[at].stall()
		time.Sleep(time.Duration(s.rng.IntN(800)) * time.Millisecond)
		s.members[at].repair()
	}},
	{"fail raft's store", 4, time.Second, func(s *sim, at string) { s.members[at].fail("raft") }},
	{"fail the archive", 3, time.Second, func(s *sim, at string) {
		s.members[at].fail([]string{"data/history", "data/outputs", "data/checkpoints"}[s.rng.IntN(3)])
	}},
	{"set the clock", 4, 100 * time.Millisecond, func(s *sim, at string) {
		to := []time.Duration{0, time.Second, -time.Second, time.Hour, -time.Hour, 8760 * time.Hour, -8760 * time.Hour}[s.rng.IntN(7)]
		s.members[at].ahead.Store(int64(to))
	}},
	{"switchover", 6, 100 * time.Millisecond, func(s *sim, _ string) {
		s.background(func(ctx context.Context, g *Group) error { _, err := g.Switchover(ctx, ""); return err })
	}},
	{"step down", 4, 100 * time.Millisecond, func(s *sim, _ string) {
		s.background(func(ctx context.Context, g *Group) error { return g.StepDown(ctx, 200*time.Millisecond) })
	}},
	{"sync", 4, 20 * time.Millisecond, func(s *sim, _ string) {
		s.background(func(ctx context.Context, g *Group) error { _, err := g.Sync(ctx); return err })
	}},
	{"kill during a sync", 4, time.Second, func(s *sim, _ string) {
		at := s.leader()
		if at == "" {
			return
		}
		s.background(func(ctx context.Context, g *Group) error { _, err := g.Sync(ctx); return err })
		time.Sleep(time.Duration(s.rng.IntN(2000)) * time.Microsecond)
		s.down(at, true)
	}},
}

// pick draws a fault by weight.
func (s *sim) pick() int {
	all := 0
	for i := range faultList {
		all += faultList[i].weight
	}
	n := s.rng.IntN(all)
	for i := range faultList {
		if n -= faultList[i].weight; n < 0 {
			return i
		}
	}
	panic("weights")
}
