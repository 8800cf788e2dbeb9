package standby

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// simulate runs a test on virtual time.
func simulate(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestFailoverKeepsEverything(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		n := uint64(0)
		for range 4 {
			for range 25 {
				n++
				c.must("p", n, fmt.Sprintf("k%d event %d", n%4, n)) // 0 to 3 outputs
			}
			victim := c.active().cfg.Member
			c.kill(victim)
			n++
			c.must("p", n, "after")
			c.start(victim)
		}
		c.check()
	})
}

// Two failovers without a checkpoint in between: the second new active replays
// from genesis what the first one and the one before it processed.
func TestTwoFailoversBeforeAnySync(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 5, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		n := uint64(0)
		for range 3 {
			for range 30 {
				n++
				c.must("p", n, fmt.Sprintf("event %d", n))
			}
			if n < 90 {
				c.kill(c.active().cfg.Member)
			}
		}
		head := c.check()
		require.Equal(t, uint64(90), head.Link.Inputs)
		var refs []fsm.CheckpointRef
		c.active().node.Load().machine.Read(func(s *fsm.State) { refs = s.Checkpoints() })
		require.Empty(t, refs)
		h, err := c.active().History(context.Background(), 10)
		require.NoError(t, err)
		require.Len(t, h, 3)
		require.Equal(t, uint64(60), h[0].Replayed)
	})
}

func TestFailoverDuringSync(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = 20 * time.Millisecond })
		n := uint64(0)
		for range 20 {
			for range 10 {
				n++
				c.must("p", n, fmt.Sprintf("event %d", n))
			}
			a := c.active()
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(context.Background())
			wg.Go(func() { a.Sync(ctx) })
			time.Sleep(time.Duration(n%7) * 100 * time.Microsecond) // somewhere within it
			c.kill(a.cfg.Member)
			cancel()
			wg.Wait()
			n++
			c.must("p", n, "after")
			c.start(a.cfg.Member)
		}
		c.check()
	})
}

func TestManyProducersThroughFailovers(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = 300 * time.Millisecond })
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				for n := uint64(1); ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					c.must(fmt.Sprintf("producer-%d", i), n, fmt.Sprintf("k%d from %d", n%3, i))
					time.Sleep(3 * time.Millisecond)
				}
			})
		}
		for range 5 {
			time.Sleep(time.Second)
			victim := c.active().cfg.Member
			c.kill(victim)
			time.Sleep(3 * time.Second)
			c.start(victim)
		}
		close(stop)
		wg.Wait()
		c.check()
	})
}

// A partitioned active steps down within its lease; nothing that it took in
// meanwhile is acknowledged by it and lost.
func TestPartitionedActive(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "before")
		old := c.active()
		others := c.others(old.cfg.Member)
		c.sw.Isolate(old.cfg.Member, others...)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		last, _, err := old.Session(ctx, "p")
		require.ErrorIs(t, err, ErrNotActive, "it tells that the newest event of a producer is number %d", last)
		c.sw.Heal()
		c.settled()
		old = c.active()
		others = nil
		for name := range c.members {
			if name != old.cfg.Member {
				others = append(others, name)
			}
		}
		c.sw.Isolate(old.cfg.Member, others...)
		_, err = old.Deliver(ctx, Event{Producer: "p", Sequence: 2, Payload: []byte("lost?")})
		require.Error(t, err)
		require.True(t, errors.Is(err, ErrUncertain) || errors.Is(err, ErrNotActive), "%v", err)
		c.eventually("the partitioned member is no longer active", func() bool { return old.Status().Role != RoleActive })
		c.eventually("another one is", func() bool {
			return c.members[others[0]].group().Status().Role == RoleActive || c.members[others[1]].group().Status().Role == RoleActive
		})
		c.must("p", 2, "lost?")
		c.sw.Heal()
		c.must("p", 3, "after")
		c.check()
	})
}

func TestDuplicateGetsTheOriginalReceipt(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		first := c.must("p", 1, "k2 once")
		second := c.must("p", 2, "reject")
		require.True(t, second.Rejected)
		require.Equal(t, "no thanks", second.Reason)
		c.kill(c.active().cfg.Member)
		for i, orig := range []Receipt{first, second} {
			again := c.must("p", uint64(i+1), []string{"k2 once", "reject"}[i])
			require.True(t, again.Duplicate)
			again.Duplicate = false
			require.Equal(t, orig, again)
		}
		c.acked = c.acked[:2]
		c.check()
	})
}

func TestProducerNumbers(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {})
		send := func(producer string, n uint64) error {
			_, err := c.deliver(Event{Producer: producer, Sequence: n, Payload: []byte("x")})
			return err
		}
		require.ErrorIs(t, send("stranger", 7), ErrSessionExpired)
		require.NoError(t, send("p", 1))
		var gap *GapError
		require.ErrorAs(t, send("p", 3), &gap)
		require.Equal(t, uint64(2), gap.Expected)
		require.ErrorIs(t, send("p", 0), ErrBadEvent)
		require.ErrorIs(t, send("", 4), ErrBadEvent)
		require.NoError(t, send("", 0))
		require.NoError(t, send("p", 2))
		for n := uint64(3); n < 1100; n += 100 {
			var evs []Event
			for i := range uint64(100) {
				evs = append(evs, Event{Producer: "p", Sequence: n + i, Payload: []byte("many")})
			}
			for i, r := range c.active().DeliverBatch(t.Context(), evs) {
				require.NoError(t, r.Err)
				c.acked = append(c.acked, ack{ev: evs[i], r: r.Receipt})
			}
		}
		require.ErrorIs(t, send("p", 1), ErrOldDuplicate)
		big := Event{Producer: "p", Sequence: 1103, Payload: make([]byte, c.f.Settings.MaxEventBytes+1)}
		_, err := c.deliver(big)
		require.ErrorIs(t, err, ErrTooLarge)
		last, known, err := c.active().Session(t.Context(), "p")
		require.NoError(t, err)
		require.True(t, known)
		require.Equal(t, uint64(1102), last)
		c.check()
	})
}

// A producer that was silent for longer than the group remembers is told so.
func TestForgottenProducer(t *testing.T) {
	simulate(t, func(t *testing.T) {
		f := testkit.Founding(3)
		f.Settings.ProducerTTL = time.Minute
		c := newClusterOf(t, f, newTally)
		c.must("old", 1, "x")
		c.must("other", 1, "x")
		time.Sleep(c.f.Settings.ProducerTTL + time.Minute)
		c.must("other", 2, "makes the committed time pass")
		_, err := c.active().Sync(t.Context()) // producers are forgotten at checkpoints
		require.NoError(t, err)
		_, err = c.deliver(Event{Producer: "old", Sequence: 2, Payload: []byte("y")})
		require.ErrorIs(t, err, ErrSessionExpired)
		c.check()
	})
}

func TestAllKilledAndRestarted(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.SyncInterval, cfg.SnapshotInterval, cfg.TrailingLogs = time.Second, time.Second, 16
		})
		n := uint64(0)
		for range 3 {
			for range 60 {
				n++
				c.must("p", n, fmt.Sprintf("k%d event %d", n%3, n))
			}
			time.Sleep(5 * time.Second)
			for name := range c.members {
				c.kill(name)
			}
			for name := range c.members {
				c.start(name)
			}
		}
		c.must("p", n+1, "last")
		c.check()
	})
}

func TestSwitchoverAndStepDown(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		n := uint64(0)
		for range 6 {
			for range 10 {
				n++
				c.must("p", n, fmt.Sprintf("event %d", n))
			}
			a := c.active()
			if n%20 == 0 {
				require.NoError(t, a.StepDown(t.Context(), 100*time.Millisecond))
				c.eventually("another member is active", func() bool { return a.Status().Role == RoleStandby && c.active() != a })
				time.Sleep(time.Second)
				continue
			}
			res, err := a.Switchover(t.Context(), "")
			require.NoError(t, err)
			require.Equal(t, res.To, c.active().cfg.Member)
			h, err := c.active().History(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, "planned", h[0].Reason)
			var rec *chain.Handoff
			c.active().node.Load().machine.Read(func(s *fsm.State) { _, r, _ := s.Active(); rec = &r })
			old, _ := c.f.Roster.Member(res.From)
			require.True(t, rec.VerifyRelease(a.id.Origin, old.LogKey), "the old active signed the release")
			var refused *RefusedError
			_, err = c.active().Switchover(t.Context(), "nobody")
			require.ErrorAs(t, err, &refused)
		}
		c.check()
	})
}

// Every member stepped down and holds back for a moment. As soon as one may be
// active again it is: that nobody would have the role until then is no fault
// that is given a minute's rest.
func TestAllStepDown(t *testing.T) {
	simulate(t, func(t *testing.T) {
		const hold = 3 * time.Second
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "before")
		first := c.active()
		for _, m := range c.members {
			if g := m.up.Load(); g != first {
				g.hold.Store(time.Now().Add(hold).UnixNano())
			}
		}
		start := time.Now()
		var refused *RefusedError
		require.ErrorAs(t, first.StepDown(t.Context(), hold), &refused)
		require.Equal(t, RoleActive, first.Status().Role, "nobody else may have the role")
		first.hold.Store(time.Now().Add(hold).UnixNano())
		_, err := first.handOver(t.Context(), first.node.Load(), first.node.Load().active.Load(), "")
		require.NoError(t, err)
		c.eventually("the role is given up", func() bool { return first.Status().Role != RoleActive })
		c.eventually("a member is active again", func() bool {
			for _, m := range c.members {
				if m.up.Load().Status().Role == RoleActive {
					return true
				}
			}
			return false
		})
		require.GreaterOrEqual(t, time.Since(start), hold)
		require.Less(t, time.Since(start), hold+5*time.Second, "the hold ended long ago")
		c.must("p", 2, "after")
		c.check()
	})
}

// A switchover to nobody says why.
func TestSwitchoverToNobody(t *testing.T) {
	simulate(t, func(t *testing.T) {
		g := newCluster(t, 1, newTally).active()
		for to, why := range map[string]string{"": "no other voter", "z": `no voter "z"`, "a": "active already"} {
			_, err := g.Switchover(t.Context(), to)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, why)
		}
	})
}

// A switchover whose member stops does not go on waiting.
func TestSwitchoverEndsWithItsMember(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		a := c.active()
		began, done := time.Now(), make(chan error)
		go func() {
			_, err := a.seePromoted(context.Background(), a.cfg.Member, 99)
			done <- err
		}()
		time.Sleep(10 * time.Millisecond)
		c.kill(a.cfg.Member)
		require.ErrorIs(t, <-done, ErrUncertain)
		require.Less(t, time.Since(began), time.Second)
	})
}

// An active that does not know yet that another one serves must not say that
// numbers are missing which the other has.
func TestDeposedActiveMissesNothing(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		c.settled() // each of the others may be elected
		old := c.active()
		others := c.others(old.cfg.Member)
		c.sw.Isolate(old.cfg.Member, others...)
		next := c.members[others[0]].group()
		next.node.Load().trans.StandForElection(t.Context())
		c.eventually("another one serves", func() bool { return next.Status().Role == RoleActive })
		for _, ev := range []Event{{Producer: "p", Sequence: 2}, {Producer: "q", Sequence: 1}} {
			r, err := next.Deliver(t.Context(), ev)
			require.NoError(t, err)
			c.acked = append(c.acked, ack{ev: ev, r: r})
		}
		require.Equal(t, RoleActive, old.Status().Role, "it knows nothing yet")
		for _, ev := range []Event{{Producer: "p", Sequence: 3}, {Producer: "q", Sequence: 2}} {
			_, err := old.Deliver(t.Context(), ev)
			require.ErrorIs(t, err, ErrNotActive)
		}
		_, err := next.Deliver(t.Context(), Event{Producer: "p", Sequence: 4})
		require.ErrorIs(t, err, ErrGap)
		c.sw.Heal()
		c.check()
	})
}

// A store that does not open is an error of the start, whichever it is.
func TestStartOnAFailingDisk(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "before")
		name := c.active().cfg.Member
		m := c.members[name]
		for _, store := range []string{"history", "outputs", "checkpoints", "peers"} {
			c.kill(name)
			for n := range 50 {
				ops := 0
				m.fs.Hook = func(op, file string) error {
					if strings.Contains(file, store) {
						if ops++; ops > n {
							return errIO
						}
					}
					return m.at(op, file)
				}
				g, err := Open(c.config(name))
				m.fs.Hook = m.at
				if err == nil {
					require.NoError(t, g.Close(t.Context()))
					break
				}
			}
			c.start(name)
		}
		c.must("p", 2, "after")
		c.check()
	})
}
