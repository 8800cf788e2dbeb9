package standby

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// standby is a member that is not the active and has a state.
func (c *cluster) standby() *Group {
	a := c.active()
	for name, m := range c.members {
		if name == a.cfg.Member {
			continue
		}
		s := m.group()
		c.eventually("a state", func() bool { _, err := s.Query(c.t.Context(), nil, true); return err == nil })
		return s
	}
	return nil
}

// A stale query on which the daemon hangs comes back, and the standby goes on
// with another daemon; neither Close nor a restart of Raft waits for the old one.
func TestHangingStaleQuery(t *testing.T) {
	for _, then := range []string{"goes on", "close", "restart"} {
		t.Run(then, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				c, release := sleepyCluster(t, "")
				defer release()
				c.must("p", 1, "x")
				c.settled()
				s := c.standby()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				asked := time.Now()
				_, err := s.Query(ctx, []byte("hang"), true)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Less(t, time.Since(asked), 2*time.Second)
				n := s.node.Load()
				switch then {
				case "goes on":
					_, err := s.Query(t.Context(), []byte("hang"), true)
					require.ErrorIs(t, err, errHung)
					c.eventually("another daemon answers", func() bool {
						ans, err := s.Query(t.Context(), nil, true)
						return err == nil && string(ans.Data) == "1 1"
					})
					require.Contains(t, fmt.Sprint(s.Status().Notes), "a stale query: the daemon hangs")
				case "close":
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					require.NoError(t, s.Close(ctx))
					c.kill(s.cfg.Member)
				case "restart":
					n.cancel(errRestart)
					c.eventually("its Raft is another one", func() bool { return s.node.Load() != n })
				}
				c.must("p", 2, "y")
				c.check()
			})
		})
	}
}

// Only the query on which the daemon hangs is to blame for it.
func TestQueriesBehindAHangingOne(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "")
		defer release()
		c.must("p", 1, "x")
		a := c.active().node.Load().active.Load()
		asks := []*ask{{request: []byte("fine")}, {request: []byte("hang")}, {request: []byte("fine")}, {check: true}}
		require.NoError(t, a.do(t.Context(), func() { a.rebuild(a.answer(asks)) }))
		require.NoError(t, asks[0].err)
		require.ErrorIs(t, asks[1].err, errHung)
		require.ErrorIs(t, asks[2].err, ErrBusy)
		require.NoError(t, asks[3].err)
		c.must("p", 2, "y")
		c.check()
	})
}

// A standby whose daemon hangs while it is restored ends when it is told to.
func TestHangingRestoreOnAStandby(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "restore", func(cfg *Config) { cfg.VerifySync = VerifyOff })
		defer release()
		c.must("p", 1, "x")
		s := c.standby()
		c.eventually("a restore is left behind", func() bool { return s.hung.Load() > 0 })
		require.Contains(t, fmt.Sprint(s.Status().Notes), "a restore: the daemon hangs")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
}

// A checkpoint on whose verification the daemon hung is verified later: where the
// journal is full no event comes that would make another one.
func TestHungVerificationIsTriedAgain(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c, release := sleepyCluster(t, "restore", func(cfg *Config) {
			cfg.SyncInterval, cfg.MaxJournalSteps, cfg.VerifySync = time.Hour, 20, VerifyAll
		})
		defer release()
		a := c.active()
		for n := uint64(1); n <= 41; n++ {
			c.must("p", n, "x")
		}
		for _, m := range c.others(a.cfg.Member) {
			c.eventually("the newest checkpoint's verification is left behind", func() bool { return c.members[m].group().hung.Load() == maxLeftBehind })
		}
		release()
		require.Same(t, a, c.active())
		c.must("p", 42, "y")
		require.Same(t, a, c.active())
		c.check()
	})
}

// Where something of a node does not end, the member fails and says what to do.
func TestWorkThatDoesNotEndEndsTheMember(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		s := c.standby()
		until := make(chan struct{})
		n := s.node.Load()
		n.goFunc(func() { <-until })
		n.cancel(errRestart)
		select {
		case <-s.Done():
		case <-time.After(time.Minute):
			t.Fatal("it neither went on nor ended")
		}
		require.ErrorContains(t, s.Err(), "end this process")
		c.must("p", 2, "y")
		close(until)
		require.NoError(t, n.stores.Close()) // which were left open
	})
}

// What hangs is noticed within the stall timeout and an eighth, from its last
// step on, and counts until it comes back.
func TestHangsCountUntilTheyComeBack(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		g := c.active()
		until := make(chan struct{})
		began := time.Now()
		l := newLeash(time.Second)
		defer l.retire()
		err := l.run(func() {
			for range 10 {
				time.Sleep(900 * time.Millisecond)
				l.beat()
			}
			<-until
		})
		require.ErrorIs(t, err, errHung)
		took := time.Since(began)
		require.GreaterOrEqual(t, took, 10*time.Second)
		require.LessOrEqual(t, took, 10*time.Second+time.Second/8)
		g.leftBehind("a test", err)
		_, err = watched(t.Context(), time.Second, func() uint64 { return 0 }, func(ctx context.Context) (int, error) {
			<-until
			return 0, errors.New("nobody hears it")
		})
		require.ErrorIs(t, err, errHung)
		g.leftBehind("a test", err)
		require.EqualValues(t, 2, g.hung.Load())
		close(until)
		synctest.Wait()
		require.Zero(t, g.hung.Load())
	})
}

// stuckFS is a disk that does not let go of its scratch pages.
type stuckFS struct {
	durable.FS
	until chan struct{}
}

type stuckPage struct {
	durable.Scratch
	until chan struct{}
}

func (s stuckFS) Sub(dir string) durable.FS { return stuckFS{s.FS.Sub(dir), s.until} }

func (s stuckFS) Scratch(name string, size int64) (durable.Scratch, error) {
	p, err := s.FS.Scratch(name, size)
	return stuckPage{p, s.until}, err
}

func (p stuckPage) Close() error {
	<-p.until
	return p.Scratch.Close()
}

// A disk that hangs while the files are closed holds up Close only until its deadline.
func TestCloseOnAHangingDisk(t *testing.T) {
	simulate(t, func(t *testing.T) {
		until := make(chan struct{})
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.Env.FS = stuckFS{cfg.Env.FS, until} })
		c.must("p", 1, "x")
		s := c.standby()
		ended := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			ended <- s.Close(ctx)
		}()
		select {
		case err := <-ended:
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "end this process")
		case <-time.After(time.Minute):
			t.Error("it waits for the disk")
			go func() { <-ended }()
		}
		close(until)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
}
