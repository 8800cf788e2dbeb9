package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/env"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/raftstore"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// cluster is a whole group in memory: real members, simulated disks and
// network. Inside testing/synctest its time is virtual.
type cluster struct {
	t       testing.TB
	sw      *peernet.Switch
	f       *chain.Founding
	members map[string]*machine
	daemon  func() host.Daemon
	tune    func(*Config)
}

// machine is what of a member survives its process.
type machine struct {
	name  string
	fs    *durable.Mem
	dead  atomic.Bool // the process is gone: nothing reaches the disk any more
	log   *raft.InmemStore
	snaps *raft.InmemSnapshotStore
	g     *Group // nil while it is down
}

func newCluster(t testing.TB, n int, daemon func() host.Daemon, tune ...func(*Config)) *cluster {
	c := &cluster{t: t, sw: peernet.NewSwitch(), f: testkit.Founding(n), members: make(map[string]*machine), daemon: daemon}
	c.tune = func(cfg *Config) {
		for _, f := range tune {
			f(cfg)
		}
	}
	for _, name := range testkit.Names(n) {
		c.members[name] = newMachine(name)
		c.start(name)
	}
	t.Cleanup(c.stop)
	return c
}

func newMachine(name string) *machine {
	m := &machine{name: name, fs: durable.NewMem(), log: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore()}
	m.fs.Hook = func(op, name string) error {
		if m.dead.Load() {
			return errors.New("the process is gone")
		}
		return nil
	}
	return m
}

func (c *cluster) config(name string) Config {
	m := c.members[name]
	k := testkit.Keys(name)
	cfg := Config{
		Founding: c.f, Member: name, Keys: Keys{k.Log, k.Cosign, k.Box}, New: c.daemon, Logger: c.logger(name), Version: "test",
		Env: &env.Env{
			FS: m.fs.Sub("data"),
			Network: func(id peernet.Identity, memory durable.FS, _ *slog.Logger) (peernet.Network, error) {
				return c.sw.Network(id, k.Log, c.f.Roster, memory)
			},
			Stores: func(o raftstore.Options) (*raftstore.Stores, error) {
				return raftstore.Harden(m.log, m.log, m.snaps, o)
			},
		},
	}
	c.tune(&cfg)
	return cfg
}

func (c *cluster) logger(name string) *slog.Logger {
	if os.Getenv("UNDERSTUDY_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(c.t.Output(), nil)).With("at", name)
}

func (c *cluster) start(name string) *Group {
	m := c.members[name]
	require.Nil(c.t, m.g)
	g, err := Open(c.config(name))
	require.NoError(c.t, err)
	m.g = g
	return g
}

// kill ends a member as SIGKILL and the loss of its machine's caches would.
func (c *cluster) kill(name string) {
	m := c.members[name]
	m.dead.Store(true)
	m.g.net.Close()
	m.g.cancel(errors.New("killed"))
	<-m.g.done
	m.g.closeStores()
	m.g = nil
	m.fs.Crash()
	m.dead.Store(false)
}

func (c *cluster) stop() {
	for name, m := range c.members {
		if m.g != nil {
			c.kill(name)
		}
	}
}

// eventually waits, in virtual time, until cond holds.
func (c *cluster) eventually(what string, cond func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			for name, m := range c.members {
				if m.g != nil {
					c.t.Logf("%s: %+v", name, m.g.Status())
				}
			}
			require.FailNow(c.t, "never: "+what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// active waits for a member that serves.
func (c *cluster) active() *Group {
	c.t.Helper()
	var found *Group
	c.eventually("a member is active", func() bool {
		for _, m := range c.members {
			if m.g != nil && m.g.Status().Role == RoleActive {
				found = m.g
				return true
			}
		}
		return false
	})
	return found
}

// deliver sends an event until its outcome is certain, as a client would.
func (c *cluster) deliver(ev Event) (Receipt, error) {
	c.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		r, err := c.active().Deliver(ctx, ev)
		cancel()
		if errors.Is(err, ErrNotActive) || errors.Is(err, ErrUncertain) || errors.Is(err, ErrBusy) || errors.Is(err, ErrClosed) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		return r, err
	}
}

func (c *cluster) must(producer string, n uint64, payload string) Receipt {
	c.t.Helper()
	r, err := c.deliver(Event{Producer: producer, Sequence: n, Payload: []byte(payload)})
	require.NoError(c.t, err)
	return r
}

// settled waits until every running member has applied the same head.
func (c *cluster) settled() chain.Head {
	c.t.Helper()
	var head chain.Head
	c.eventually("all members have the same head", func() bool {
		head = chain.Head{}
		for _, m := range c.members {
			if m.g == nil {
				continue
			}
			h := m.g.node.Load().head()
			if head.Hash.IsZero() {
				head = h
			}
			if h != head {
				return false
			}
		}
		return true
	})
	return head
}

// check compares everything that the members keep with a single host that ran
// the committed events, and returns the head.
func (c *cluster) check() chain.Head {
	c.t.Helper()
	head := c.settled()
	for name, m := range c.members {
		if m.g == nil {
			continue
		}
		c.eventually(name+" has the whole history", m.g.archive.whole)
		require.Equal(c.t, head.Size(), m.g.hist.Size())
		m.g.node.Load().machine.Read(func(s *fsm.State) { require.NoError(c.t, s.Diverged()) })
		tip := chain.Tip{}
		m.g.node.Load().machine.Read(func(s *fsm.State) { tip = s.Tip() })
		require.NoError(c.t, m.g.hist.Check(tip.Frontier))
	}
	return head
}

func (c *cluster) outputs(g *Group) []string {
	c.t.Helper()
	var out []string
	for next := uint64(1); ; {
		outs, err := g.readOutputs(next, 100)
		require.NoError(c.t, err)
		if len(outs) == 0 {
			return out
		}
		for _, o := range outs {
			require.Equal(c.t, next, o.Number)
			out = append(out, string(o.Payload))
			next++
		}
	}
}

// tally is the tests' daemon: every event adds its length to the sum and gives
// the outputs that it asks for.
type tally struct {
	sum, count uint64
	bad        string // how it misbehaves
}

func newTally() host.Daemon { return &tally{} }

func (d *tally) Name() string { return "tally" }

func (d *tally) Process(ev chain.Event) ([][]byte, error) {
	var k int
	switch p := string(ev.Payload); {
	case p == "reject":
		return nil, errors.New("no thanks")
	case p == "panic":
		panic("told to")
	case len(p) > 1 && p[0] == 'k':
		fmt.Sscanf(p, "k%d", &k)
	default:
		k = 1
	}
	d.sum += uint64(len(ev.Payload))
	d.count++
	outs := make([][]byte, k)
	for i := range outs {
		outs[i] = fmt.Appendf(nil, "%d/%d %s", d.count, d.sum, ev.Payload)
	}
	return outs, nil
}

func (d *tally) Snapshot() ([]byte, error) { return fmt.Appendf(nil, "%d %d", d.sum, d.count), nil }

func (d *tally) Restore(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%d %d", &d.sum, &d.count)
	return err
}

func (d *tally) CanonicalSnapshot() bool { return true }

func (d *tally) Query([]byte) ([]byte, error) { return fmt.Appendf(nil, "%d %d", d.count, d.sum), nil }
