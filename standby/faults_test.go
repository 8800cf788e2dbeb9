package standby

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/durable"
)

// A panic is contained: the event is recorded as refused, the daemon is rebuilt
// without it, and the same happens at every replay.
func TestPanickingDaemon(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		term := uint64(0)
		for n := uint64(1); n <= 40; n++ {
			p := fmt.Sprintf("event %d", n)
			if n%10 == 5 {
				p = "panic"
			}
			r := c.must("p", n, p)
			require.Equal(t, p == "panic", r.Refused)
			if n == 1 {
				term = r.Term
			}
			if n == 19 {
				require.Equal(t, term, r.Term, "a contained panic does not end the term")
				c.kill(c.active().cfg.Member)
			}
		}
		c.check()
	})
}

// stateless keeps nothing between events.
type stateless struct{}

func (stateless) Name() string { return "stateless" }
func (stateless) Process(ev chain.Event) ([][]byte, error) {
	return [][]byte{ev.Payload}, nil
}

func TestStatelessDaemon(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return stateless{} }, func(cfg *Config) { cfg.SyncInterval = 100 * time.Millisecond })
		for n := uint64(1); n <= 60; n++ {
			c.must("p", n, fmt.Sprintf("event %d", n))
			if n%20 == 0 {
				time.Sleep(time.Second)
				v := c.active().cfg.Member
				c.kill(v)
				c.must("q", n/20, "after")
				c.start(v)
			}
		}
		c.check()
	})
}

// wayward gives outputs that depend on which instance it is.
type wayward struct {
	tally
	id uint64
}

func (d *wayward) Process(ev chain.Event) ([][]byte, error) {
	return [][]byte{binary.BigEndian.AppendUint64(nil, d.id)}, nil
}

// A daemon that is not deterministic is never promoted on a history that it
// does not repeat: the group stops and says why.
func TestDivergingDaemonIsNotPromoted(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var ids atomic.Uint64
		c := newCluster(t, 3, func() host.Daemon { return &wayward{id: ids.Add(1)} }, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "x")
		c.must("p", 2, "y")
		first := c.active()
		head := c.settled()
		c.kill(first.cfg.Member)
		var rest []*Group
		for _, m := range c.members {
			if m.group() != nil {
				rest = append(rest, m.group())
			}
		}
		c.eventually("both are quarantined", func() bool {
			return rest[0].quarantine.Load() != nil && rest[1].quarantine.Load() != nil
		})
		time.Sleep(5 * time.Minute)
		for _, g := range rest {
			st := g.Status()
			require.NotEqual(t, RoleActive, st.Role)
			if h := g.node.Load().head(); h.Seq() >= head.Seq() { // less: Raft was restarted, and nobody leads
				require.Equal(t, head, h, "nothing was added to the history")
			}
			for _, row := range st.Members {
				if row.Name == g.cfg.Member {
					require.Contains(t, row.Reason, "does not replay")
				}
			}
			require.LessOrEqual(t, g.node.Load().raft.CurrentTerm(), uint64(60), "leadership is not passed around without bound")
		}
	})
}

// forgetful leaves its count out of its snapshot.
type forgetful struct{ tally }

func (d *forgetful) Restore(b []byte) error {
	err := d.tally.Restore(b)
	d.count = 0
	return err
}

// A snapshot that does not restore faithfully is found by verified sync while
// the history that repairs it still exists, and a failover loses nothing.
func TestUnfaithfulSnapshot(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return &forgetful{} }, func(cfg *Config) {
			cfg.SyncInterval, cfg.VerifySync = 2*time.Second, VerifyAll
		})
		c.alone = newTally
		n := uint64(0)
		for range 5 {
			for range 10 {
				n++
				c.must("p", n, fmt.Sprintf("event %d", n))
			}
			time.Sleep(3 * time.Second)
		}
		a := c.active()
		found := 0
		var floor uint64
		for name, m := range c.members {
			if m.group() == a {
				continue
			}
			var refs []fsm.CheckpointRef
			m.group().node.Load().machine.Read(func(s *fsm.State) {
				refs, floor = s.Checkpoints(), s.Floor()
				_, err := s.Journal(1)
				require.NoError(t, err, "the journal still reaches back to genesis")
			})
			require.False(t, refs[len(refs)-1].HasVerified(name))
			for _, row := range m.group().Status().Members {
				if row.Name == name && row.Reason != "" {
					found++
				}
			}
		}
		require.Equal(t, 2, found, "both standbys say so")
		require.Less(t, floor, uint64(20))
		c.kill(a.cfg.Member)
		n++
		c.must("p", n, "after")
		c.check()
	})
}

// A wiped disk under an old name is not let in, even if somebody lets it
// bootstrap again: it could vote against what it had acknowledged.
func TestWipedDiskIsRefused(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		c.settled()
		victim := c.active().cfg.Member
		c.kill(victim)
		c.must("p", 2, "y")
		c.members[victim] = newMachine(victim)
		g := c.start(victim)
		time.Sleep(time.Minute)
		require.Equal(t, uint64(0), g.node.Load().head().Seq(), "it learnt nothing")
		require.NotEqual(t, RoleActive, g.Status().Role)
		require.Contains(t, fmt.Sprint(c.active().Status().Notes), "refused")
		c.kill(victim)
		c.must("p", 3, "z")
		c.check()
	})
}

// A disk that was set back to an older copy is recognised by its start counter.
func TestRolledBackDiskIsRefused(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		var victim string
		for name, m := range c.members {
			if m.group() != c.active() {
				victim = name
			}
		}
		m := c.members[victim]
		c.settled()
		old, err := durable.ReadSealed(m.fs.Sub("data"), identityFile, int64(identitySize))
		require.NoError(t, err)
		for range 2 {
			c.kill(victim)
			c.start(victim)
			c.eventually("it is back", func() bool { return m.group().Status().Active != "" })
			c.settled()
		}
		c.kill(victim)
		require.NoError(t, durable.WriteSealed(m.fs.Sub("data"), identityFile, old))
		g := c.start(victim)
		c.must("p", 2, "y")
		time.Sleep(time.Minute)
		require.Less(t, g.node.Load().head().Seq(), c.active().node.Load().head().Seq())
		require.Contains(t, fmt.Sprint(c.active().Status().Notes), "refused")
		c.kill(victim)
		c.check()
	})
}

// An archive that cannot be written for a while is whole again afterwards, also
// when the outputs of an entry were written and its links were not.
func TestArchiveHealsAfterFailedWrites(t *testing.T) {
	for _, what := range []string{"data/history", "data/outputs", "data/history/hashes"} {
		t.Run(what, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
				c.must("p", 1, "before")
				m := c.members[c.active().cfg.Member]
				require.NoError(t, m.group().archive.sync()) // a fault in the middle of a sync ends the member
				m.fail(what)
				c.must("p", 2, "k2 meanwhile")
				c.must("p", 3, "meanwhile")
				m.repair()
				c.must("p", 4, "k2 after")
				c.check()
			})
		})
	}
}

// A used data directory without its mark is not a new member.
func TestEmptyDiskDoesNotBootstrap(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 1, newTally)
		c.must("p", 1, "x")
		c.kill("a")
		c.members["a"].log = newMachine("a").log // Raft's store is gone, the rest is not
		_, err := Open(c.config("a"))
		require.ErrorContains(t, err, "wiped disk")
	})
}

// TestThousandFailovers breaks groups at random, in virtual time, with
// producers at work, and compares everything after each failover.
func TestThousandFailovers(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	if s := os.Getenv("UNDERSTUDY_FAILOVERS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	const lanes = 40
	for lane := range lanes {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			if s := os.Getenv("UNDERSTUDY_SEED"); s != "" {
				seed, _ = strconv.ParseUint(s, 10, 64)
			}
			defer func() {
				if t.Failed() {
					t.Logf("UNDERSTUDY_SEED=%d", seed)
				}
			}()
			simulate(t, func(t *testing.T) { failovers(t, rounds/lanes, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func failovers(t *testing.T, rounds int, rng *rand.Rand) {
	c := newCluster(t, 3, newTally, func(cfg *Config) {
		cfg.SyncInterval = 500 * time.Millisecond
		cfg.SnapshotInterval, cfg.TrailingLogs = time.Second, 64
	})
	type producer struct {
		name string
		n    uint64
	}
	producers := []*producer{{name: "one"}, {name: "two"}}
	round := uint64(0)
	for range rounds {
		round++
		var wg sync.WaitGroup
		for i, p := range producers {
			events, pause := 3+rng.IntN(3), time.Duration(rng.IntN(3000))*time.Microsecond
			wg.Go(func() {
				for range events {
					p.n++
					c.must(p.name, p.n, fmt.Sprintf("k%d %s %d", (p.n+uint64(i))%3, p.name, p.n))
					time.Sleep(pause)
				}
			})
		}
		a := c.active()
		victim := a.cfg.Member
		time.Sleep(time.Duration(rng.IntN(10_000)) * time.Microsecond)
		switch fault := rng.IntN(8); fault {
		default:
			c.kill(victim)
			wg.Wait()
			c.start(victim)
		case 5:
			others := c.others(victim)
			c.sw.Isolate(victim, others...)
			c.eventually("the isolated member gives up", func() bool { return a.Status().Role != RoleActive })
			wg.Wait()
			c.sw.Heal()
		case 6:
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_, err := a.Switchover(ctx, "")
			cancel()
			if err != nil {
				require.True(t, errors.Is(err, ErrRefused) || errors.Is(err, ErrNotActive) || errors.Is(err, ErrUncertain), "%v", err)
			}
			wg.Wait()
		case 7:
			for name := range c.members {
				c.kill(name)
			}
			for name := range c.members {
				c.start(name)
			}
			wg.Wait()
		}
		c.check()
		if round%16 == 0 {
			time.Sleep(2 * time.Second)
		}
	}
	c.recheck()
}
