package standby

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/fsm"
)

// flood has eight producers send 400 events each, as fast as they are answered.
func flood(t *testing.T, g *Group) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range uint64(400) {
				_, err := g.Deliver(t.Context(), Event{Producer: string(rune('a' + i)), Sequence: n + 1, Payload: []byte("x")})
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
}

// The next checkpoint is made before the journal is full: producers that send
// as fast as they are answered are never told that the group is busy.
func TestJournalKeepsPace(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalSteps, cfg.SyncInterval = 400, time.Hour
		})
		g := c.active()
		flood(t, g)
		g.node.Load().machine.Read(func(s *fsm.State) {
			steps, _ := s.JournalSize()
			require.Less(t, steps, 800)
		})
		require.EqualValues(t, 8*400, c.settled().Link.Inputs)
	})
}

// If no checkpoint can be finished, events wait for a while and are then told
// why; queries go on.
func TestFullJournalSaysSo(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalSteps, cfg.SyncInterval = 20, time.Hour
		})
		g := c.active()
		for _, name := range c.others(g.cfg.Member) {
			p := c.members[name].group().node.Load().replica
			hold := make(chan struct{})
			defer close(hold)
			go p.call(t.Context(), func() { <-hold }) // its checkpoints are never reported
		}
		var err error
		n := uint64(0)
		for err == nil && n < 1000 {
			n++
			start := time.Now()
			if _, err = g.Deliver(t.Context(), Event{Producer: "p", Sequence: n, Payload: []byte("x")}); err != nil {
				require.GreaterOrEqual(t, time.Since(start), holdFor/2)
			}
		}
		require.True(t, errors.Is(err, ErrBusy), "%v", err)
		require.True(t, strings.Contains(err.Error(), "journal is full"), "%v", err)
		_, err = g.Query(t.Context(), []byte("count"), false)
		require.NoError(t, err)
	})
}

// A caller whose deadline passes while its event waits for room is told that
// nothing came of it, and nothing did: the number is free.
func TestDeadlineWhileEventsWait(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalSteps, cfg.SyncInterval = 20, time.Hour
		})
		g := c.active()
		hold := make(chan struct{})
		for _, name := range c.others(g.cfg.Member) {
			p := c.members[name].group().node.Load().replica
			go p.call(t.Context(), func() { <-hold })
		}
		n := uint64(1)
		send := func(payload string) error {
			ctx, cancel := context.WithTimeout(t.Context(), holdFor/3)
			defer cancel()
			_, err := g.Deliver(ctx, Event{Producer: "p", Sequence: n, Payload: []byte(payload)})
			return err
		}
		var err error
		for err = send("x"); err == nil && n < 1000; err = send("x") {
			n++
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrUncertain)
		close(hold)
		require.Eventually(t, func() bool { return send("another") == nil }, time.Minute, time.Second)
		require.EqualValues(t, n, c.settled().Link.Inputs)
		require.Zero(t, g.node.Load().active.Load().intake.events.Load(), "what was given up takes no room")
	})
}

// One standby is down: producers that send as fast as they are answered are
// still not told that the group is busy.
func TestJournalKeepsPaceWithOneDown(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalSteps, cfg.SyncInterval = 400, time.Hour
		})
		c.must("q", 1, "x")
		g := c.active()
		c.kill(c.others(g.cfg.Member)[0])
		flood(t, g)
		require.EqualValues(t, 8*400+1, c.settled().Link.Inputs)
	})
}

// Without new events no checkpoint is due, however many queries come.
func TestQueriesMakeNoCheckpointDue(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalBytes, cfg.SyncInterval = 4000, time.Hour
		})
		c.must("p", 1, "x")
		_, err := c.active().Sync(t.Context())
		require.NoError(t, err)
		due := 0
		s := c.standby().node.Load()
		for range 500 {
			_, err := c.active().Query(t.Context(), nil, false)
			require.NoError(t, err)
			time.Sleep(time.Millisecond)
			select {
			case <-s.due:
				due++
			default:
			}
		}
		require.LessOrEqual(t, due, 1)
	})
}

// A drain does not wait for a checkpoint that it keeps from being counted: what
// waits for the journal is told that the group is busy.
func TestDrainOfAFullJournal(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalSteps, cfg.SyncInterval = 20, time.Hour
		})
		g := c.active()
		hold := make(chan struct{})
		for _, name := range c.others(g.cfg.Member) {
			p := c.members[name].group().node.Load().replica
			go p.call(t.Context(), func() { <-hold }) // its checkpoints are not reported yet
		}
		for n := uint64(0); !g.node.Load().journalFull(); {
			n++
			_, err := g.Deliver(t.Context(), Event{Producer: "p", Sequence: n, Payload: []byte("x")})
			require.NoError(t, err)
		}
		time.Sleep(500 * time.Millisecond) // the journal's hold begins
		var got error
		var wg sync.WaitGroup
		wg.Go(func() { _, got = g.Deliver(t.Context(), Event{Payload: []byte("waits")}) })
		time.Sleep(10 * time.Millisecond)
		start := time.Now()
		a := g.node.Load().active.Load()
		done := make(chan error, 1)
		go func() { done <- a.drain(t.Context()) }()
		time.Sleep(10 * time.Millisecond)
		close(hold) // the checkpoints can be verified and reported from here on
		require.NoError(t, <-done)
		a.undrain()
		wg.Wait()
		require.Less(t, time.Since(start), time.Second)
		require.ErrorIs(t, got, ErrBusy)
	})
}

// How long a checkpoint waits for the member whose turn it is to verify it is no
// matter of clocks: where they were a day ahead when it was made, and that member
// cannot, the other one does so as soon as ever, and the journal does not stay full.
func TestTurnsPassWhateverTheClocksSaid(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.MaxJournalSteps, cfg.SyncInterval = 20, time.Hour
			day := cfg.Env.Now
			cfg.Env.Now = func() time.Time { return day().Add(24 * time.Hour) }
		})
		g := c.active()
		p := c.members[c.others(g.cfg.Member)[0]].group().node.Load().replica
		hold := make(chan struct{})
		defer close(hold)
		go p.call(t.Context(), func() { <-hold })
		for n := uint64(1); n <= 300; n++ {
			start := time.Now()
			c.must("p", n, "x")
			require.Less(t, time.Since(start), time.Minute, "event %d", n)
		}
	})
}
