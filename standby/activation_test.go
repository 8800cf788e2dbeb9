package standby

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// The role ends while a daemon that hangs between events is being replaced, and
// events wait: the loop does not touch the host that is gone.
func TestRoleEndsWhileAHungDaemonIsReplaced(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "", func(cfg *Config) { cfg.EntrySteps = 1 })
		defer release()
		c.must("p", 1, "x")
		g := c.active()
		a := g.node.Load().active.Load()
		until := make(chan struct{})
		defer close(until)
		gate := make(chan struct{})
		go a.do(t.Context(), func() { <-gate }) // the loop is busy for a moment
		time.Sleep(time.Millisecond)
		go g.DeliverBatch(t.Context(), []Event{
			{Producer: "p", Sequence: 2, Payload: []byte("a")}, {Producer: "p", Sequence: 3, Payload: []byte("b")}, {Producer: "p", Sequence: 4, Payload: []byte("c")},
			{Producer: "p", Sequence: 5, Payload: []byte("a")}, {Producer: "p", Sequence: 6, Payload: []byte("b")}, {Producer: "p", Sequence: 7, Payload: []byte("c")},
		})
		time.Sleep(time.Millisecond)
		for range 4 { // as the supervisor's question for the daemon's health does
			go a.daemon(t.Context(), "telling its health", func(*host.Host) { <-until })
		}
		time.Sleep(time.Millisecond)
		close(gate)
		time.Sleep(time.Second)
		a.end(errors.New("the role ends")) // as a lost leadership does
		time.Sleep(10 * time.Second)
	})
}

// The role ends in the middle of a drain: the standby does not go on with a host
// that holds events which were never committed.
func TestDrainCutShort(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "x")
		c.settled()
		old := c.active()
		c.sw.Isolate(old.cfg.Member, c.others(old.cfg.Member)...)
		lost := make(chan error, 1)
		go func() {
			_, err := old.Deliver(t.Context(), Event{Producer: "q", Sequence: 1, Payload: []byte("never")})
			lost <- err
		}()
		time.Sleep(10 * time.Millisecond)
		go old.StepDown(t.Context(), time.Second)
		require.ErrorIs(t, <-lost, ErrUncertain)
		c.eventually("another one is active", func() bool { return c.active() != old })
		c.must("p", 2, "y")
		if ans, err := old.Query(t.Context(), nil, true); err == nil {
			require.LessOrEqual(t, ans.Seq, old.node.Load().head().Seq(), "a stale answer beyond the committed head")
		}
		c.sw.Heal()
		c.settled()
		time.Sleep(5 * time.Second)
		ans, err := old.Query(t.Context(), nil, true)
		require.NoError(t, err)
		require.NotContains(t, string(ans.Data), "6", "it counts an event that never happened")
	})
}

// An entry did not enter the log, the one after it, that only carries a query,
// did: its answer does not show what never happened.
func TestQueryAfterALostEntry(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "x")
		c.settled()
		g := c.active()
		disk := c.members[g.cfg.Member].disk
		disk.stall()
		go g.Deliver(t.Context(), Event{Producer: "q", Sequence: 1, Payload: []byte("y")})
		time.Sleep(10 * time.Millisecond)
		lost := make(chan error, 1)
		go func() {
			_, err := g.Deliver(t.Context(), Event{Producer: "r", Sequence: 1, Payload: []byte("never")})
			lost <- err
		}()
		time.Sleep(time.Second)
		type reply struct {
			ans Answer
			err error
		}
		got := make(chan reply, 1)
		go func() {
			ans, err := g.Query(t.Context(), nil, false)
			got <- reply{ans, err}
		}()
		time.Sleep(g.cfg.StallTimeout - time.Second + 5*time.Millisecond) // the second one's time to get into Raft is over
		disk.repair()
		err := <-lost
		r := <-got
		if errors.Is(err, ErrNotActive) && r.err == nil {
			require.Equal(t, "2 2", string(r.ans.Data), "the answer counts an event of which its sender was told that it did not happen")
		}
	})
}

// After an entry that failed every later query is told that nobody answered it.
func TestAckerAfterAFailedEntry(t *testing.T) {
	simulate(t, func(t *testing.T) {
		n := &node{g: &Group{cfg: Config{CommitTimeout: time.Second, StallTimeout: time.Second}}}
		n.ctx, n.cancel = context.WithCancelCause(t.Context())
		a := &activation{n: n, landed: make(chan *flying, 4), acks: make(chan *flying, 4)}
		a.ctx, a.end = context.WithCancelCause(n.ctx)
		s := newSubmission([]Event{{Payload: []byte("never")}})
		q := &ask{done: make(chan struct{})}
		a.landed <- &flying{future: &promised{err: raft.ErrEnqueueTimeout}, events: []*pending{&s.events[0]}}
		a.landed <- &flying{future: &promised{response: &fsm.Result{Status: fsm.Accepted}}, queries: []*ask{q}}
		close(a.landed)
		a.acker()
		<-q.done
		require.ErrorIs(t, s.events[0].res.Err, ErrNotActive)
		require.Error(t, q.err, "the query was answered from a state that holds the event that did not happen")
	})
}

// A duplicate that waits for an event which is then answered at the second look
// is answered as well.
func TestDuplicateOfARequeuedEvent(t *testing.T) {
	c := newCluster(t, 1, newTally)
	g := c.active()
	f := newFlights(g.node.Load().machine, g.now)
	first := newSubmission([]Event{{Producer: "gone", Sequence: 7, Payload: []byte("x")}})
	again := newSubmission([]Event{{Producer: "gone", Sequence: 7, Payload: []byte("x")}})
	p, d := &first.events[0], &again.events[0]
	f.add(p) // it was the producer's next one
	require.False(t, f.admit(d, nil))
	f.drop([]*pending{p}) // the entry was full: it goes back to the backlog
	// Meanwhile the producer was forgotten, by a seal or for another's sake.
	require.False(t, f.admit(p, nil))
	<-first.done
	select {
	case <-again.done:
	default:
		t.Error("the second sending is never answered")
	}
}

// A commit that takes too long ends the role and its events are uncertain. An
// event of it that was sent again is not proposed a second time by a loop that
// sees the entry come back before it sees the end: the entry was not lost, and
// every replica would find the number taken.
func TestSecondSendingAfterAnUncertainEntry(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.SyncInterval, cfg.CommitTimeout, cfg.EntrySteps = time.Hour, 200*time.Millisecond, 1
		})
		c.must("p", 1, "x")
		c.settled()
		g := c.active()
		a := g.node.Load().active.Load()
		for _, m := range c.others(g.cfg.Member) {
			c.members[m].disk.stall()
		}
		go g.Deliver(t.Context(), Event{Producer: "p", Sequence: 2, Payload: []byte("y")})
		time.Sleep(100 * time.Millisecond)
		gate := make(chan struct{})
		go a.do(t.Context(), func() { <-gate })
		time.Sleep(time.Millisecond)
		// Two submissions: the loop takes one, and looks for more, while the other
		// one waits in the backlog; the second repeats the event in flight.
		go g.DeliverBatch(t.Context(), []Event{{Producer: "p", Sequence: 2, Payload: []byte("y")}, {Producer: "o", Sequence: 1, Payload: []byte("o")}})
		time.Sleep(time.Millisecond)
		// What poll does if it receives from acks after its look at the context.
		for range 8 {
			go a.do(t.Context(), func() {
				if len(a.backlog) > 0 && a.ctx.Err() == nil {
					<-a.ctx.Done()
					fl := <-a.acks
					a.acked(fl)
				}
			})
		}
		time.Sleep(time.Millisecond)
		close(gate)
		time.Sleep(150 * time.Millisecond)
		for _, m := range c.others(g.cfg.Member) {
			c.members[m].disk.repair()
		}
		time.Sleep(20 * time.Second)
		for name, m := range c.members {
			m.group().node.Load().machine.Read(func(s *fsm.State) {
				if err := s.Diverged(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	})
}

// The active loop waits for nobody: not for another member from which damaged
// outputs are fetched because a duplicate's receipt names them.
func TestLoopWaitsForNoOtherMember(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		for n := uint64(1); n <= 3; n++ {
			c.must("p", n, "event")
		}
		c.settled()
		g := c.active()
		require.NotZero(t, g.OutputsNext())
		first := c.others(g.cfg.Member)
		c.sw.Isolate(first[0], g.cfg.Member) // the other one still makes a majority
		f, err := c.members[g.cfg.Member].fs.Sub("data/outputs").Open("00000000000000000001.out", false)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, size-40), 40)
		require.NoError(t, err)
		go g.Deliver(t.Context(), Event{Producer: "p", Sequence: 1, Payload: []byte("event")}) // its answer was lost
		time.Sleep(10 * time.Millisecond)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err = g.Deliver(ctx, Event{Producer: "q", Sequence: 1, Payload: []byte("other")})
		require.NoError(t, err)
		require.Less(t, time.Since(began), g.cfg.StallTimeout)
	})
}

// Limits that an embedder may not set: no replica could read the entries.
func TestEntryLimits(t *testing.T) {
	e := fsm.Entry{Kind: fsm.Batch, Term: 1, Steps: make([]fsm.Step, fsm.MaxSteps+1)}
	_, err := fsm.ParseEntry(e.Marshal(nil))
	require.Error(t, err)
	c := newCluster(t, 1, newTally)
	for _, set := range []func(*Config){
		func(c *Config) { c.EntrySteps = fsm.MaxSteps + 1 },
		func(c *Config) { c.EntryBytes = fsm.MaxEntry },
		func(c *Config) { c.QueueBytes = 512 << 10 }, // an event of 1 MiB would never find room
	} {
		cfg := c.config("a")
		cfg.setDefaults()
		require.NoError(t, cfg.validate())
		set(&cfg)
		require.Error(t, cfg.validate())
	}
}

// A number is applied once, however many other producers there are.
func TestNumberOneAfterManyProducers(t *testing.T) {
	simulate(t, func(t *testing.T) {
		f := testkit.Founding(1)
		f.Settings.MaxProducers = 100
		c := newClusterOf(t, f, newTally)
		first := c.must("p", 1, "pay 1 EUR")
		flood := func(i int) error { // anybody who may deliver
			_, err := c.active().Deliver(t.Context(), Event{Producer: fmt.Sprint("flood ", i), Sequence: 1, Payload: []byte("x")})
			return err
		}
		for i := range 99 {
			require.NoError(t, flood(i))
		}
		require.ErrorIs(t, flood(99), ErrBusy)
		again, err := c.active().Deliver(t.Context(), Event{Producer: "p", Sequence: 1, Payload: []byte("pay 1 EUR")})
		require.NoError(t, err)
		require.Equal(t, first.Seq, again.Seq)
		time.Sleep(time.Hour)
		require.NoError(t, flood(99), "who was silent for an hour makes room")
	})
}

// So it is if the many come at once: those in flight count.
func TestNumberOneAfterManyProducersAtOnce(t *testing.T) {
	simulate(t, func(t *testing.T) {
		f := testkit.Founding(1)
		f.Settings.MaxProducers = 100
		c := newClusterOf(t, f, newTally)
		first := c.must("p", 1, "pay 1 EUR")
		flood := func(from, n int) (recorded int) {
			var evs []Event
			for i := range n {
				evs = append(evs, Event{Producer: fmt.Sprint("flood ", from+i), Sequence: 1, Payload: []byte("x")})
			}
			for _, r := range c.active().DeliverBatch(t.Context(), evs) {
				if r.Err == nil {
					recorded++
				} else {
					require.ErrorIs(t, r.Err, ErrBusy)
				}
			}
			return recorded
		}
		require.Equal(t, 99, flood(0, 120))
		again, err := c.active().Deliver(t.Context(), Event{Producer: "p", Sequence: 1, Payload: []byte("pay 1 EUR")})
		require.NoError(t, err)
		require.Equal(t, first.Seq, again.Seq)
		time.Sleep(time.Hour)
		c.must("p", 2, "not silent")
		require.Equal(t, 99, flood(1000, 120), "who was silent for an hour makes room")
		again, err = c.active().Deliver(t.Context(), Event{Producer: "p", Sequence: 2, Payload: []byte("not silent")})
		require.NoError(t, err)
		require.True(t, again.Duplicate)
	})
}

// All that has no answer yet is bounded by queue_bytes: what waits, what is in
// flight, and what repeats it.
func TestQueueBytesBoundWhatHasNoAnswer(t *testing.T) {
	for _, same := range []bool{false, true} {
		simulate(t, func(t *testing.T) {
			c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval, cfg.QueueBytes = time.Hour, 4<<20 })
			c.must("p", 1, "x")
			c.settled()
			g := c.active()
			for _, m := range c.others(g.cfg.Member) {
				c.members[m].disk.stall()
			}
			ev := Event{Payload: make([]byte, 64<<10)}
			if same {
				ev.Producer, ev.Sequence = "q", 1
			}
			var busy, left atomic.Int64
			for range 200 {
				left.Add(1)
				go func() {
					if _, err := g.Deliver(t.Context(), ev); errors.Is(err, ErrBusy) {
						busy.Add(1)
					}
					left.Add(-1)
				}()
				time.Sleep(100 * time.Microsecond)
			}
			require.LessOrEqual(t, left.Load()*64<<10, int64(g.cfg.QueueBytes))
			require.Greater(t, busy.Load(), int64(100))
			for _, m := range c.others(g.cfg.Member) {
				c.members[m].disk.repair()
			}
			c.eventually("all have an answer", func() bool { return left.Load() == 0 })
			c.must("p", 2, "there is room again")
		})
	}
}

// A group of one that is closed commits what is in flight, as a larger one does
// before it hands over: its sender has a receipt and no doubt.
func TestCloseOfAGroupOfOne(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 1, newTally)
		c.must("p", 1, "x")
		g := c.active()
		disk := c.members[g.cfg.Member].disk
		disk.stall()
		got := make(chan error, 1)
		go func() {
			_, err := g.Deliver(t.Context(), Event{Payload: []byte("y")})
			got <- err
		}()
		time.Sleep(10 * time.Millisecond)
		time.AfterFunc(100*time.Millisecond, disk.repair)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, g.Close(ctx))
		require.NoError(t, <-got)
	})
}
