package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/checkpoint"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/internal/outputs"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/poison"
)

// Group is one member's handle on its standby group. All methods may be called
// concurrently.
type Group struct {
	cfg      Config
	log      *slog.Logger
	ctx      context.Context
	cancel   context.CancelCauseFunc
	wg       sync.WaitGroup
	done     chan struct{}
	err      atomic.Pointer[error] // why the member stopped by itself
	founding []byte
	id       peernet.Identity

	lock    io.Closer // of the data directory; nil in a simulation
	inUse   bool      // something did not end: the lock is not given up
	fs      durable.FS
	syncs   atomic.Uint64   // fsyncs of this member's own files and of Raft's stores
	written atomic.Uint64   // bytes likewise
	traffic peernet.Traffic // with the other members
	net     peernet.Network
	server  *http.Server
	peers   *peers
	hist    *history.Store
	outs    *outputs.Store
	checks  *checkpoint.Store
	poison  *poison.Book
	archive *archive
	node    atomic.Pointer[node]
	api     atomic.Pointer[http.Handler]

	closing sync.Once
	closed  error // of closing the files

	hold       atomic.Int64 // unix ns until which this member does not want to be active
	sick       atomic.Pointer[sickness]
	hung       atomic.Int32          // calls into the daemon that have not come back
	quarantine atomic.Pointer[error] // this member's daemon does not replay the group's history
	transfers  []time.Time           // when leadership was given up for a fault; owned by the running node

	collecting sync.Mutex
	collected  chain.Hash // newest manifest at the last collection

	missed chan uint64 // an output that another member asked for in vain: it is damaged here

	changed *signal   // role, head, checkpoints, members
	seen    seen      // what the other members said last
	told    testimony // the deaths that the other members told of
	notes   notes     // what this member has to say about itself
	heads   treeHeads // the newest signed tree head
	changes changes   // of the active, for proofs
}

// Open starts this member. It returns once the member runs; it may take until
// an election before a group is active: see [Group.Watch].
func Open(cfg Config) (*Group, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Group{
		cfg: cfg, log: cfg.Logger, done: make(chan struct{}), changed: newSignal(), founding: cfg.Founding.Marshal(),
		missed: make(chan uint64, 1),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	if err := g.open(); err != nil {
		g.cancel(err)
		g.closeStores()
		return nil, err
	}
	n, err := g.startNode()
	if err != nil {
		g.cancel(err)
		g.closeStores()
		return nil, err
	}
	g.node.Store(n)
	g.goFunc(func() { g.server.Serve(g.net.Listener("rpc")) })
	g.goFunc(g.watchPeers)
	g.goFunc(func() { g.archive.run(g.ctx) })
	g.goFunc(g.healArchive)
	g.goFunc(g.savePoison)
	if !cfg.NoCrashDetection {
		g.goFunc(g.watchCrashes)
	}
	g.wg.Add(1)
	go g.run(n)
	return g, nil
}

func (g *Group) goFunc(f func()) {
	g.wg.Add(1)
	go func() { defer g.wg.Done(); f() }()
}

// open brings up everything that outlives a Raft instance.
func (g *Group) open() error {
	g.fs = durable.OS(g.cfg.Dir)
	if g.cfg.Env != nil {
		g.fs = g.cfg.Env.FS
	}
	if g.cfg.Faults != nil {
		g.fs = durable.Gated(g.fs, g.cfg.Faults.Write)
	}
	g.fs = durable.Count(g.fs, &g.syncs, &g.written)
	if err := g.fs.MkdirAll("."); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var err error
	if g.cfg.Env == nil { // before anything is read or changed that a running member writes
		if g.lock, err = durable.Lock(g.cfg.Dir); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	if g.id, err = g.identity(); err != nil {
		return err
	}
	if g.hist, err = openOrSetAside(g, "history", func(fs durable.FS) (*history.Store, error) {
		return history.Open(fs, g.id.Origin)
	}); err != nil {
		return err
	}
	if g.outs, err = openOrSetAside(g, "outputs", func(fs durable.FS) (*outputs.Store, error) {
		return outputs.Open(fs, outputs.Retention{Bytes: g.cfg.OutputsBytes})
	}); err != nil {
		return err
	}
	if g.checks, err = openOrSetAside(g, "checkpoints", func(fs durable.FS) (*checkpoint.Store, error) {
		return checkpoint.Open(fs)
	}); err != nil {
		return err
	}
	if err := g.openPoison(); err != nil {
		return err
	}
	tip, err := chain.Genesis(g.cfg.Founding)
	if err != nil {
		return err
	}
	g.archive = &archive{
		log: g.log, hist: g.hist, outs: g.outs, hole: newSignal(), root: tip.Head.Link, queue: newQueue(), writing: applying{born: time.Now()},
		alone: g.alone(),
		fail: func(err error) {
			if g.ctx.Err() == nil { // else Close returns it
				g.fail(err)
			}
		},
	}
	if g.net, err = g.listen(); err != nil {
		return err
	}
	g.peers = newPeers(g.cfg.Member, g.net)
	g.server = &http.Server{
		Handler:           g.peerHandler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if p, ok := c.(peernet.Conn); ok {
				return context.WithValue(ctx, peerKey{}, p.Peer())
			}
			return ctx
		},
	}
	return nil
}

// alone says that there is no other member to get anything from.
func (g *Group) alone() bool { return len(g.cfg.Founding.Roster.Members) == 1 }

// openOrSetAside opens a store that heals from the other members. A damaged one
// is set aside, not deleted, and begun anew, unless nobody else has what it holds.
func openOrSetAside[T any](g *Group, name string, open func(durable.FS) (T, error)) (T, error) {
	s, err := open(g.fs.Sub(name))
	if !errors.Is(err, durable.ErrDamaged) {
		return s, err
	}
	if g.alone() && name != "checkpoints" {
		return s, fmt.Errorf("%s cannot be opened, and no other member has it: look at this machine's disk, or put back a copy of the data directory: %w", name, err)
	}
	g.log.Error("a damaged store is set aside and fetched again from the other members", "store", name, "err", err)
	g.noteReason(fmt.Errorf("%s was damaged and is fetched again: %w", name, err))
	aside := name + ".damaged"
	g.fs.RemoveAll(aside)
	if err := g.fs.Rename(name, aside); err != nil {
		return s, err
	}
	return open(g.fs.Sub(name))
}

// run keeps a node alive until the group is closed or fails.
func (g *Group) run(n *node) {
	defer close(g.done)
	defer g.wg.Done()
	for {
		<-n.ctx.Done()
		cause := context.Cause(n.ctx)
		if err := n.stop(cause); err != nil {
			g.inUse = errors.Is(err, errInUse)
			g.fail(err)
			return
		}
		if !errors.Is(cause, errRestart) || g.ctx.Err() != nil {
			if g.ctx.Err() == nil {
				g.fail(cause)
			}
			return
		}
		next, err := g.startNode()
		if err != nil {
			g.fail(fmt.Errorf("raft does not start again: %w", err))
			return
		}
		n = next
		g.node.Store(n)
	}
}

// fail stops the member for good. Only a restart of the process, which reads
// everything from disk again, is safe after a failed write.
func (g *Group) fail(err error) {
	if g.err.CompareAndSwap(nil, &err) {
		g.log.Error("this member stops", "member", g.cfg.Member, "err", err)
	}
	g.cancel(err)
	g.changed.notify()
}

// Done is closed when the member has stopped, by Close or by itself: see Err.
func (g *Group) Done() <-chan struct{} { return g.done }

// Err says why the member stopped by itself; nil while it runs and after Close.
func (g *Group) Err() error {
	if e := g.err.Load(); e != nil {
		return *e
	}
	return nil
}

// Close stops this member in order: an active first drains and hands over to a
// standby, within the context's deadline; the others go on without this member.
//
// Once it has returned nil or an error of the files, further calls return the same.
func (g *Group) Close(ctx context.Context) error {
	if n := g.node.Load(); n != nil && g.ctx.Err() == nil {
		if a := n.active.Load(); a != nil {
			a.daemon(ctx, "the shutdown", func(h *host.Host) { h.Control(host.Shutdown{Grace: time.Second}) })
			if len(g.voters()) > 1 {
				g.handOver(ctx, n, a, g.heir(ctx))
			} else {
				a.drain(ctx)
			}
		}
	}
	g.cancel(ErrClosed)
	select {
	case <-g.done:
	case <-ctx.Done():
		return fmt.Errorf("the member is still stopping: %w", ctx.Err())
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		g.closing.Do(func() { g.closed = g.closeStores() })
	}()
	select {
	case <-closed:
		return g.closed
	case <-ctx.Done():
		return fmt.Errorf("the member's files are still being closed; where the disk hangs, end this process: %w", ctx.Err())
	}
}

func (g *Group) closeStores() error {
	var errs []error
	if g.server != nil {
		g.server.Close()
	}
	if g.peers != nil {
		g.peers.close()
	}
	if g.net != nil {
		errs = append(errs, g.net.Close())
	}
	g.wg.Wait()
	if g.archive != nil { // else a store did not open
		errs = append(errs, g.archive.sync())
	}
	if g.hist != nil {
		errs = append(errs, g.hist.Close())
	}
	if g.outs != nil {
		errs = append(errs, g.outs.Close())
	}
	if g.checks != nil {
		errs = append(errs, g.checks.Close())
	}
	if g.poison != nil {
		errs = append(errs, g.poison.Close())
	}
	if g.lock != nil && !g.inUse {
		errs = append(errs, g.lock.Close())
	}
	return errors.Join(errs...)
}

func (g *Group) voters() []string {
	var names []string
	for _, m := range g.cfg.Founding.Roster.Members {
		if m.Flags&chain.Voter != 0 {
			names = append(names, m.Name)
		}
	}
	return names
}

func (g *Group) hostConfig() host.Config { return host.ConfigFrom(g.cfg.Founding.Settings) }

// now is the wall clock in ns, which only ever says when something happened:
// no decision about roles or order depends on it.
func (g *Group) now() int64 {
	if g.cfg.Env != nil && g.cfg.Env.Now != nil {
		return g.cfg.Env.Now().UnixNano()
	}
	if g.cfg.Faults != nil {
		return g.cfg.Faults.Now().UnixNano()
	}
	return time.Now().UnixNano()
}
