package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/raftstore"
)

// node is one life of this member's Raft instance with everything that hangs
// on it. It is made anew when a leadership could not be given away: the next
// activation must have a new term.
type node struct {
	g       *Group
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup
	stores  *raftstore.Stores
	trans   *peernet.Transport
	raft    *raft.Raft
	machine *fsm.Machine
	replica *replica
	active  atomic.Pointer[activation]
	role    atomic.Pointer[roleState]
	full    atomic.Bool  // journal over its hard limit
	bytes   atomic.Int64 // of all entries since the start
	planned atomic.Pointer[plannedNotice]
	timing  electionTimes

	applying applying      // the state machine's goroutine
	since    pace          // the state machine's goroutine's
	due      chan struct{} // a checkpoint is, for the journal's sake

	down chan struct{} // closed when Raft has ended, or does not end in time
}

// roleState is what this member does now, for the status.
type roleState struct {
	role   Role
	phase  string
	reason string
	since  time.Time
}

// errRestart asks the group to start a new node.
var errRestart = errors.New("the raft instance is restarted")

// startNode opens the stores and starts Raft on them.
func (g *Group) startNode() (*node, error) {
	n := &node{g: g, log: g.log, due: make(chan struct{}, 1), down: make(chan struct{}), applying: applying{born: time.Now()}}
	n.ctx, n.cancel = context.WithCancelCause(g.ctx)
	n.setRole(RoleJoining, "", "starting")
	n.stepBack()
	state, err := fsm.NewState(g.cfg.Founding)
	if err != nil {
		return nil, err
	}
	n.machine = fsm.NewMachine(state, n.applied, n.restored)
	n.stores, err = g.openStores(n.ctx)
	if err != nil {
		return nil, err
	}
	if err := g.bootstrap(n.stores); err != nil {
		n.stores.Close()
		return nil, err
	}
	if snaps, err := n.stores.Snapshots.List(); err != nil {
		n.stores.Close()
		return nil, fmt.Errorf("raft snapshots: %w", err)
	} else if len(snaps) == 0 {
		n.restored(state) // else Raft restores the newest snapshot, which says the same
	}
	others := slices.DeleteFunc(g.voters(), func(m string) bool { return m == g.cfg.Member })
	n.trans = peernet.NewTransport(g.net, g.cfg.Member, others, 5*time.Second, raftLogger(g.log))
	n.raft, err = raft.NewRaft(g.raftConfig(), &machineFSM{Machine: n.machine, n: n}, n.stores.Log, n.stores.Stable, n.stores.Snapshots, n.trans)
	if err != nil {
		n.trans.Close()
		n.stores.Close()
		return nil, fmt.Errorf("raft does not start: %w", err)
	}
	n.stores.Started()
	n.replica = newReplica(n)
	n.goFunc(n.replica.run)
	n.goFunc(n.monitor)
	n.goFunc(n.observe)
	n.goFunc(n.watchdog)
	n.goFunc(n.compact)
	return n, nil
}

func (n *node) goFunc(f func()) {
	n.wg.Add(1)
	go func() { defer n.wg.Done(); f() }()
}

// stop ends everything in order: the role first, so that nothing is proposed
// any more; Raft before its transport, which its own goroutines still use; the
// stores last. What does not end in time may use the stores: they stay open and
// the member must not start another instance in this process.
func (n *node) stop(cause error) error {
	n.cancel(cause)
	n.settle(time.Second)
	down := make(chan error, 1)
	f := n.raft.Shutdown()
	go func() { down <- f.Error() }()
	n.trans.HangUp() // Shutdown waits for every request, also for one to a member that hangs
	timer := time.NewTimer(15 * time.Second)
	defer timer.Stop()
	var late bool
	select {
	case <-down:
	case <-timer.C:
		late = true
	}
	close(n.down)
	if late {
		return fmt.Errorf("raft did not stop within 15s: %w", errInUse)
	}
	n.trans.Close()
	long := 15*time.Second + n.g.cfg.standbyStall()
	if err := within(context.Background(), long, func() error { n.wg.Wait(); return nil }); err != nil {
		return fmt.Errorf("this member's work did not stop within %v: %w", long, errInUse)
	}
	return n.stores.Close()
}

// errInUse: this process goes on using the data directory, and keeps its lock.
var errInUse = errors.New("end this process, its stores are still in use")

// settle waits, for a while, until what is committed has gone through the state
// machine: Raft does not answer the futures that wait there when it stops
// (hashicorp/raft issue 498), and who waits for them waits for ever.
func (n *node) settle(patience time.Duration) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		st := n.raft.Stats()
		if st["fsm_pending"] == "0" && st["applied_index"] == st["commit_index"] {
			return
		}
	}
}

func (g *Group) raftConfig() *raft.Config {
	c := raftstore.Config(g.cfg.Member)
	c.HeartbeatTimeout = g.cfg.Heartbeat
	c.ElectionTimeout = g.cfg.Election
	c.LeaderLeaseTimeout = g.cfg.Lease
	c.SnapshotInterval = 365 * 24 * time.Hour // see compact
	c.TrailingLogs = g.cfg.TrailingLogs
	c.Logger = raftLogger(g.log)
	return c
}

// servers is the static configuration: every voter of the founding roster,
// with its name as address; the network finds the host and port.
func (g *Group) servers() raft.Configuration {
	var c raft.Configuration
	for _, m := range g.voters() {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(m), Address: raft.ServerAddress(m)})
	}
	return c
}

// monitor turns Raft's leadership signal into activations, one after the
// other. Each true starts a new one, even without a false before it: the
// channel keeps only the newest value.
func (n *node) monitor() {
	var end func()
	for {
		select {
		case leader := <-n.raft.LeaderCh():
			if end != nil {
				end()
				end = nil
			}
			if leader {
				end = n.lead()
			} else {
				n.stepBack()
			}
		case <-n.ctx.Done():
			if end != nil {
				end()
			}
			return
		}
	}
}

// lead runs the leader's role in its own goroutine; the function it returns
// ends it and waits.
func (n *node) lead() func() {
	ctx, cancel := context.WithCancelCause(n.ctx)
	done := make(chan struct{})
	n.goFunc(func() {
		defer close(done)
		for again := true; again; {
			err := n.serve(ctx)
			if ctx.Err() != nil {
				return // leadership is gone already
			}
			n.log.Warn("giving up leadership", "member", n.g.cfg.Member, "cause", err)
			n.g.noteReason(err)
			again = n.relinquish(ctx, err)
		}
	})
	return func() { cancel(errRoleEnd); <-done }
}

// maxTransfers bounds how often a minute leadership is given up for a fault:
// members that all fail must not pass it around as fast as they can.
const maxTransfers = 3

// manyTransfers is that bound where the role has an heir.
const manyTransfers = 10 * maxTransfers

// relinquish hands leadership to the freshest member that may have it. If
// nobody takes it this Raft instance is restarted, so that its next activation
// has a new term. A leader that was not allowed to begin, and is now, begins
// after all: then it returns true.
func (n *node) relinquish(ctx context.Context, cause error) (again bool) {
	g := n.g
	early := errors.As(cause, new(*notAllowedError))
	heir := ""
	for {
		g.transfers = slices.DeleteFunc(g.transfers, func(t time.Time) bool { return time.Since(t) >= time.Minute })
		most := maxTransfers
		if early { // this member is sound: it won since its log is the freshest
			if heir = g.heir(ctx); heir != "" {
				most = manyTransfers
			}
		}
		if len(g.transfers) < most {
			break
		}
		n.setRole(RoleFailed, "", fmt.Sprintf("leadership was given up %d times within a minute, now holding: %v", maxTransfers, cause))
		select {
		case <-time.After(min(time.Minute-time.Since(g.transfers[0]), 50*time.Millisecond)):
		case <-ctx.Done():
			return false
		}
		if early && n.mayLead() == nil {
			n.stepBack()
			return true
		}
	}
	g.transfers = append(g.transfers, time.Now())
	// A Raft whose disk hangs cannot hand over: the watchdog has seen to it.
	tick := time.NewTicker(max(g.cfg.StallTimeout/8, time.Millisecond))
	defer tick.Stop()
	for n.raft.State() == raft.Leader && n.stores.Stalled() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	if n.raft.State() != raft.Leader {
		return false
	}
	err := within(ctx, g.cfg.Election+5*time.Second, func() error {
		if heir == "" {
			heir = g.heir(ctx)
		}
		if heir != "" {
			return n.heard(n.raft.LeadershipTransferToServer(raft.ServerID(heir), raft.ServerAddress(heir)))
		}
		return n.heard(n.raft.LeadershipTransfer())
	})
	if err == nil || ctx.Err() != nil || n.raft.State() != raft.Leader {
		return false
	}
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return false // a switchover's, which restarts Raft if it comes to nothing
	}
	n.log.Warn("leadership could not be given away; raft is restarted", "err", err, "cause", cause)
	n.cancel(errRestart)
	return false
}

// successor is the member to hand leadership to: of those that answered last
// time and may be active, the one with the newest state. Empty if none.
func (g *Group) successor() string {
	var best *position
	for _, m := range g.voters() {
		s, ok := g.seen.get(m)
		if m == g.cfg.Member || !ok || s.err != nil || !s.pos.Eligible {
			continue
		}
		if s.pos.ahead(best) {
			best = &s.pos
		}
	}
	if best == nil {
		return ""
	}
	return best.Member
}

func (n *node) setRole(r Role, phase, reason string) {
	n.role.Store(&roleState{role: r, phase: phase, reason: reason, since: time.Now()})
	n.g.changed.notify()
}

func (n *node) stepBack() {
	if r := n.role.Load(); r == nil || r.role != RoleJoining {
		n.setRole(RoleStandby, "", "")
	}
}

// within runs f, which may never return, with a deadline.
func within(ctx context.Context, d time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("no answer within %v", d)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
