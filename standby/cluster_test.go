package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	alone   func() host.Daemon // the same without its fault, if daemon has one
	tune    func(*Config)

	over  atomic.Bool // clients give up
	mu    sync.Mutex
	acked []ack // every acknowledged event
	audit audit
}

// ack is an event and the receipt that it got, and who gave it.
type ack struct {
	ev Event
	r  Receipt
	by string
}

// machine is where a member runs.
type machine struct {
	*disk
	name  string
	ahead atomic.Int64          // ns that its wall clock is ahead
	up    atomic.Pointer[Group] // nil while it is down
}

func newCluster(t testing.TB, n int, daemon func() host.Daemon, tune ...func(*Config)) *cluster {
	return newClusterOf(t, testkit.Founding(n), daemon, tune...)
}

func newClusterOf(t testing.TB, f *chain.Founding, daemon func() host.Daemon, tune ...func(*Config)) *cluster {
	c := &cluster{t: t, sw: peernet.NewSwitch(), f: f, members: make(map[string]*machine), daemon: daemon}
	c.tune = func(cfg *Config) {
		for _, f := range tune {
			f(cfg)
		}
	}
	for _, m := range f.Roster.Members {
		c.members[m.Name] = newMachine(m.Name)
		c.start(m.Name)
	}
	t.Cleanup(c.stop)
	return c
}

// others are the members but one.
func (c *cluster) others(name string) (out []string) {
	for _, m := range c.f.Roster.Members {
		if m.Name != name {
			out = append(out, m.Name)
		}
	}
	return out
}

// reference is the daemon that processes everything alone.
func (c *cluster) reference() host.Daemon {
	if c.alone != nil {
		return c.alone()
	}
	return c.daemon()
}

func newMachine(name string) *machine { return &machine{name: name, disk: newDisk()} }

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
			Now: func() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) },
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
	require.Nil(c.t, m.group())
	g, err := Open(c.config(name))
	require.NoError(c.t, err)
	m.up.Store(g)
	return g
}

// kill ends a member as SIGKILL and the loss of its machine's caches would.
func (c *cluster) kill(name string) { c.end(name, true) }

// end ends a member's process, and its machine if the power goes as well.
func (c *cluster) end(name string, power bool) {
	m := c.members[name]
	g := m.group()
	m.dead.Store(true)
	m.repair()
	g.net.Close()
	g.cancel(errors.New("killed"))
	<-g.done
	g.closeStores()
	m.up.Store(nil)
	if power {
		m.fs.Crash()
		m.log.powerCut()
	}
	m.dead.Store(false)
}

func (c *cluster) stop() {
	c.over.Store(true)
	for name, m := range c.members {
		if m.group() != nil {
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
				if m.group() != nil {
					c.t.Logf("%s: %+v", name, m.group().Status())
				}
			}
			require.FailNow(c.t, "never: "+what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// active waits for a member that serves; nil if the test is over.
func (c *cluster) active() *Group {
	c.t.Helper()
	var found *Group
	c.eventually("a member is active", func() bool {
		if c.over.Load() {
			return true
		}
		var newest uint64 // one that lost the role may not have noticed it yet
		for _, m := range c.members {
			if g := m.group(); m.serving() {
				if a := g.node.Load().active.Load(); a != nil && a.term > newest {
					found, newest = g, a.term
				}
			}
		}
		return newest > 0
	})
	return found
}

// deliver sends an event until its outcome is certain, as a client would.
func (c *cluster) deliver(ev Event) (Receipt, error) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); ; {
		require.True(c.t, time.Now().Before(deadline), "no outcome of event %s/%d within ten minutes", ev.Producer, ev.Sequence)
		a := c.active()
		if a == nil {
			return Receipt{}, ErrClosed
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		r, err := a.Deliver(ctx, ev)
		cancel()
		if errors.Is(err, ErrNotActive) || errors.Is(err, ErrUncertain) || errors.Is(err, ErrBusy) || errors.Is(err, ErrClosed) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if err == nil {
			c.mu.Lock()
			c.acked = append(c.acked, ack{ev, r, a.cfg.Member})
			c.mu.Unlock()
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
	c.active() // else nobody knows yet what is committed
	var head chain.Head
	c.eventually("all members have the same head", func() bool {
		head = chain.Head{}
		for _, m := range c.members {
			if m.group() == nil {
				continue
			}
			h := m.group().node.Load().head()
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

// audit is how far check has come.
type audit struct {
	acks    int // of cluster.acked
	bySeq   map[uint64]ack
	alone   host.Daemon
	outputs []string // what the daemon alone gave
	links   uint64
}

// check compares everything that the members keep with what was acknowledged
// and with one daemon that processes the same events alone: every acknowledged
// event is in the history once, where its receipt says, with the outputs that
// its receipt says; nothing else is. It goes on from where the last check was;
// recheck begins at the beginning.
func (c *cluster) check() chain.Head {
	c.t.Helper()
	head := c.settled()
	if c.audit.bySeq == nil {
		c.audit = audit{bySeq: make(map[uint64]ack), alone: c.reference()}
	}
	au := &c.audit
	from, fromOutput := au.links, len(au.outputs)
	c.mu.Lock()
	var fresh []uint64
	for _, a := range c.acked[au.acks:] {
		if old, seen := au.bySeq[a.r.Seq]; seen {
			require.Equal(c.t, old.ev, a.ev, "two events have one position")
			require.Equal(c.t, old.r.Link, a.r.Link)
			continue
		}
		au.bySeq[a.r.Seq] = a
		fresh = append(fresh, a.r.Seq)
	}
	au.acks = len(c.acked)
	c.mu.Unlock()
	require.Equal(c.t, head.Link.Inputs, uint64(len(au.bySeq)), "events in the history that nobody was told of, or the other way round")
	slices.Sort(fresh)
	for _, seq := range fresh {
		a := au.bySeq[seq]
		require.GreaterOrEqual(c.t, seq, from, "an event was put into the past")
		if a.r.Refused {
			continue
		}
		outs, err := au.alone.Process(chain.Event{Producer: a.ev.Producer, Sequence: a.ev.Sequence, Payload: a.ev.Payload, Seq: seq, Term: a.r.Term})
		require.Equal(c.t, err != nil, a.r.Rejected)
		require.Equal(c.t, uint64(len(outs)), a.r.Outputs)
		if len(outs) > 0 {
			require.Equal(c.t, uint64(len(au.outputs)+1), a.r.FirstOutput)
		}
		for _, o := range outs {
			au.outputs = append(au.outputs, string(o))
		}
	}
	au.links = head.Size()
	for name, m := range c.members {
		g := m.group()
		if g == nil {
			continue
		}
		c.eventually(name+" has the whole history", func() bool {
			var tip chain.Tip // a checkpoint may move it
			g.node.Load().machine.Read(func(s *fsm.State) {
				require.NoError(c.t, s.Diverged())
				tip = s.Tip()
			})
			return g.archive.whole() && tip.Head.Size() >= head.Size() && g.hist.Check(tip.Frontier) == nil
		})
		for _, seq := range fresh {
			l, err := g.hist.Link(seq)
			require.NoError(c.t, err)
			a := au.bySeq[seq]
			if l.Hash() != a.r.Link || l.Input != chain.EventDigest(a.ev.Producer, a.ev.Sequence, a.ev.Payload) {
				require.FailNow(c.t, "another event is in the history", "%s: seq %d", name, seq)
			}
		}
		if got := c.outputs(g, uint64(fromOutput)+1); !slices.Equal(got, au.outputs[fromOutput:]) {
			require.Equal(c.t, au.outputs[fromOutput:], got)
		}
	}
	return head
}

func (c *cluster) recheck() chain.Head {
	c.audit = audit{}
	return c.check()
}

func (c *cluster) outputs(g *Group, next uint64) []string {
	c.t.Helper()
	var out []string
	for {
		outs, err := g.readOutputs(next, 100)
		require.NoError(c.t, err)
		if len(outs) == 0 {
			return out
		}
		for _, o := range outs {
			if o.Number != next {
				require.Equal(c.t, next, o.Number)
			}
			out = append(out, string(o.Payload))
			next++
		}
	}
}

// tally is the tests' daemon: every event adds its length to the sum and gives
// the outputs that it asks for.
type tally struct{ sum, count uint64 }

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

func (m *machine) serving() bool {
	g := m.group()
	if g == nil {
		return false
	}
	n := g.node.Load()
	return n != nil && n.role.Load().role == RoleActive
}

func (m *machine) group() *Group { return m.up.Load() }
