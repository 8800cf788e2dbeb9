package standby

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// stopping ends a context when it has processed some events.
type stopping struct {
	tally
	after uint64
	stop  context.CancelFunc
}

func (d *stopping) Process(ev chain.Event) ([][]byte, error) {
	if d.count+1 == d.after {
		d.stop()
	}
	return d.tally.Process(ev)
}

// journaled is a standby that has so many events in its journal and no checkpoint.
func journaled(t *testing.T, events uint64) *node {
	c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
	for n := range events {
		c.must("p", n+1, "event")
	}
	c.settled()
	return c.standby().node.Load()
}

// A replay that is cut short, as by a promotion, is gone on with: the daemon
// sees no event twice, and what has not arrived claims no place in the chain.
func TestReplayGoesOn(t *testing.T) {
	simulate(t, func(t *testing.T) {
		n := journaled(t, 20)
		ctx, cancel := context.WithCancel(t.Context())
		d := &stopping{after: 7, stop: cancel}
		h, err := host.New(d, n.g.cfg.Founding, n.g.cfg.Keys.Log, n.g.hostConfig())
		require.NoError(t, err)
		genesis := h.Head()
		_, err = n.replay(ctx, h, 0)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, genesis, h.Head())
		require.GreaterOrEqual(t, h.Sequence(), uint64(7))
		require.Less(t, d.count, uint64(20))
		events, err := n.replay(t.Context(), h, 0)
		require.NoError(t, err)
		require.Equal(t, n.head(), h.Head())
		require.EqualValues(t, 20, d.count)
		require.Less(t, events, uint64(20))
	})
}

// A journal that makes other links than the committed ones is not arrived at,
// also if the daemon puts out the same.
func TestReplayOfAnotherJournal(t *testing.T) {
	simulate(t, func(t *testing.T) {
		n := journaled(t, 5)
		var entries []fsm.JournalEntry
		var head chain.Tip
		n.machine.Read(func(s *fsm.State) { entries, _ = s.Journal(1); head = s.Tip() })
		genesis, err := chain.Genesis(n.g.cfg.Founding)
		require.NoError(t, err)
		tip, err := n.linked(t.Context(), genesis, entries)(nil)
		require.NoError(t, err)
		require.Equal(t, head, *tip)
		entries = slices.Clone(entries)
		last, err := entries[len(entries)-1].Entry()
		require.NoError(t, err)
		last.Steps[0].Producer = "q" // of which the daemon makes nothing
		entries[len(entries)-1].Data = last.Marshal(nil)
		_, err = n.linked(t.Context(), genesis, entries)(nil)
		require.ErrorIs(t, err, errReplay)
	})
}

// A stale query between a replay that was cut short and the promotion that goes
// on with it says of which term the newest event is that it has seen.
func TestStaleQueryOnTheTrail(t *testing.T) {
	simulate(t, func(t *testing.T) {
		n := journaled(t, 20)
		head := n.head()
		ctx, cancel := context.WithCancel(t.Context())
		d := &stopping{after: 7, stop: cancel}
		h, err := host.New(d, n.g.cfg.Founding, n.g.cfg.Keys.Log, n.g.hostConfig())
		require.NoError(t, err)
		_, err = n.replay(ctx, h, 0)
		require.ErrorIs(t, err, context.Canceled)
		var ans Answer
		require.NoError(t, n.replica.call(t.Context(), func() {
			n.replica.host = h
			ans, err = n.replica.query(nil)
		}))
		require.NoError(t, err)
		require.GreaterOrEqual(t, ans.Seq, uint64(7))
		require.Equal(t, head.Link.Term, ans.Term)
	})
}

// A replay gets on with each entry that the daemon has seen and with each whose
// links are made: neither part alone looks like a daemon that hangs.
func TestLinksAreProgress(t *testing.T) {
	simulate(t, func(t *testing.T) {
		n := journaled(t, 20)
		entries, err := journalFrom(n, 1)
		require.NoError(t, err)
		h, err := host.New(newTally(), n.g.cfg.Founding, n.g.cfg.Keys.Log, n.g.hostConfig())
		require.NoError(t, err)
		before := n.replica.progress.Load()
		_, err = n.replay(t.Context(), h, 0)
		require.NoError(t, err)
		require.GreaterOrEqual(t, n.replica.progress.Load()-before, uint64(2*len(entries)))
	})
}

// slow takes a millisecond for each event.
type slow struct{ tally }

func (d *slow) Process(ev chain.Event) ([][]byte, error) {
	time.Sleep(time.Millisecond)
	return d.tally.Process(ev)
}

// A promotion that comes while the standby verifies a checkpoint goes on with the
// daemon that does so: it replays what is left, not all since the last one.
func TestPromotionTakesOverAVerification(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return &slow{} }, func(cfg *Config) {
			cfg.SyncInterval, cfg.VerifySync = time.Hour, VerifyAll
		})
		n := uint64(0)
		deliver := func(events int) {
			for range events {
				n++
				c.must("p", n, "event")
			}
		}
		deliver(10)
		_, err := c.active().Sync(t.Context())
		require.NoError(t, err)
		const events = 4000
		deliver(events)
		old := c.active()
		other := c.members[c.others(old.cfg.Member)[0]].group().node.Load()
		seals := func() (n int) {
			other.machine.Read(func(s *fsm.State) { n = len(s.Checkpoints()) })
			return n
		}
		before := seals()
		go old.Sync(t.Context())
		c.eventually("the next checkpoint is sealed", func() bool { return seals() > before })
		time.Sleep(time.Second)
		c.kill(old.cfg.Member)
		now := c.active()
		h, err := now.History(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, now.cfg.Member, h[0].To)
		require.Less(t, h[0].Replayed, uint64(events-1000))
		require.Positive(t, h[0].Replayed)
		c.must("p", n+1, "after")
		c.check()
	})
}

// broken does not restore.
type broken struct {
	tally
	tries *atomic.Int64
}

func (d *broken) Restore([]byte) error {
	d.tries.Add(1)
	return errors.New("no such format")
}

// A checkpoint that a standby's daemon does not restore is tried again now and then,
// not with each event: it may have gigabytes.
func TestFailedRestoreIsTriedAtAPace(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var tries atomic.Int64
		c := newCluster(t, 3, func() host.Daemon { return &broken{tries: &tries} }, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.active().Sync(ctx)
		before := tries.Load()
		for n := uint64(2); n <= 200; n++ {
			c.must("p", n, "x")
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, tries.Load()-before, int64(40))
	})
}

// heavy takes its time to be restored.
type heavy struct{ tally }

func (d *heavy) Restore(b []byte) error {
	time.Sleep(4 * time.Second)
	return d.tally.Restore(b)
}

// A failover does not wait for a restore that is under way: the host from before it
// is warm.
func TestTakeoverDuringARestore(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return &heavy{} }, func(cfg *Config) { cfg.SyncInterval, cfg.VerifySync = time.Hour, VerifyOff })
		c.must("p", 1, "x")
		a := c.active()
		_, err := a.Sync(t.Context())
		require.NoError(t, err)
		c.must("p", 2, "y")
		go a.Sync(t.Context())
		time.Sleep(time.Second) // the standbys restore
		start := time.Now()
		c.kill(a.cfg.Member)
		c.must("p", 3, "z")
		require.Less(t, time.Since(start), time.Second)
		c.check()
	})
}
