package standby

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// replica is a standby's own copy of the daemon: its goroutine owns the host,
// brings it to each new checkpoint and reports what it holds. What is to be
// done follows from the state machine alone, so a missed wake-up, a failed
// fetch or a restart is made good at the next turn.
type replica struct {
	n           *node
	calls       chan func()
	restoredSeq atomic.Uint64 // covered seq of the checkpoint under the host
	hostSeq     atomic.Uint64 // position of the host
	progress    atomic.Uint64 // rises with everything done, for stall detection
	trouble     atomic.Pointer[string]

	mu     sync.Mutex
	cancel context.CancelFunc // of the turn that runs now
	paused bool               // the member is promoting or active: the host is elsewhere

	// Owned by the goroutine.
	host     *host.Host
	verified map[chain.Hash]bool // manifests that this member's own replay agrees with
	failed   chain.Hash          // manifest whose verification failed: not tried again
}

func newReplica(n *node) *replica {
	return &replica{n: n, calls: make(chan func()), verified: make(map[chain.Hash]bool)}
}

func (r *replica) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		changed := r.n.g.changed.wait()
		r.turn()
		select {
		case f := <-r.calls:
			f()
		case <-changed:
		case <-tick.C:
		case <-r.n.ctx.Done():
			return
		}
	}
}

// call runs f on the replica's goroutine between turns. A daemon that hangs in
// a turn holds it up.
func (r *replica) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	ctx, cancel := context.WithTimeoutCause(ctx, r.n.g.cfg.PromotionStall, errHung)
	defer cancel()
	select {
	case r.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.n.ctx.Done():
		return ErrClosed
	}
}

// take hands the host over to a promotion, interrupting a sync that is under
// way. It may be nil. The replica rests until give or release.
func (r *replica) take(ctx context.Context) *host.Host {
	r.mu.Lock()
	r.paused = true
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	var h *host.Host
	if err := r.call(ctx, func() { h, r.host = r.host, nil }); errors.Is(err, errHung) {
		r.setTrouble(fmt.Errorf("a sync does not end: %w", err))
	}
	return h
}

// give returns a host at a committed position after a failed promotion or a
// drained switchover; release goes on without one.
func (r *replica) give(h *host.Host) {
	r.call(r.n.ctx, func() {
		if h != nil && h.Poisoned() == nil {
			r.host = h
			r.hostSeq.Store(h.Head().Seq())
		}
	})
	r.release()
}

func (r *replica) release() {
	r.mu.Lock()
	r.paused = false
	r.mu.Unlock()
	r.n.g.changed.notify()
}

func (r *replica) setTrouble(err error) {
	if err == nil {
		r.trouble.Store(nil)
		return
	}
	s := err.Error()
	if old := r.trouble.Swap(&s); old == nil || *old != s {
		r.n.log.Warn("standby is not in sync", "member", r.n.g.cfg.Member, "err", err)
		r.n.g.changed.notify()
	}
}

// turn does what is due, if anything.
func (r *replica) turn() {
	r.mu.Lock()
	if r.paused {
		r.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(r.n.ctx)
	r.cancel = cancel
	r.mu.Unlock()
	defer cancel()
	err := r.sync(ctx)
	if ctx.Err() == nil {
		r.setTrouble(err)
	}
}

// sync brings the host to the newest sealed checkpoint, by replay first where
// it is this member's turn to verify, then by restoring it.
func (r *replica) sync(ctx context.Context) error {
	n := r.n
	var refs []fsm.CheckpointRef
	var head chain.Head
	n.machine.Read(func(s *fsm.State) { refs, head = s.Checkpoints(), s.Head() })
	if head.Link.Seq == 0 || n.g.seen.ahead(head.Seq()) {
		return nil // nothing happened yet, or this member still catches up: it would act upon the past
	}
	if len(refs) == 0 {
		if r.host == nil {
			h, err := host.New(n.g.cfg.New(), n.g.cfg.Founding, n.g.cfg.Keys.Log, n.g.hostConfig())
			if err != nil {
				return err
			}
			r.adopt(h, 0)
		}
		return r.follow(ctx, head)
	}
	newest := &refs[len(refs)-1]
	var problem error
	if r.host == nil || newest.Seal.Seq > r.restoredSeq.Load() {
		if r.mustVerify(newest) && r.failed != newest.Seal.Manifest {
			problem = r.verify(ctx, refs)
		}
		problem = errors.Join(problem, r.restoreNewest(ctx, refs))
	} else if r.overdue(newest) {
		problem = r.verify(ctx, refs) // the member whose turn it was has not done so
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	problem = errors.Join(problem, r.report(ctx, refs))
	n.g.collect(refs)
	if r.host != nil {
		problem = errors.Join(problem, r.follow(ctx, head))
	}
	if r.failed == newest.Seal.Manifest && problem == nil {
		problem = fmt.Errorf("checkpoint at seq %d was not verified by this member's replay: fix the daemon's snapshot or its determinism", newest.Seal.Seq)
	}
	return problem
}

// restoreNewest restores the newest checkpoint that can be had into a fresh
// host. The one that is there stays if only older ones can.
func (r *replica) restoreNewest(ctx context.Context, refs []fsm.CheckpointRef) error {
	var errs []error
	for i := len(refs) - 1; i >= 0 && ctx.Err() == nil; i-- {
		seq := refs[i].Seal.Seq
		if r.host != nil && seq <= r.restoredSeq.Load() {
			break
		}
		h, err := r.n.restore(ctx, &refs[i].Seal)
		if err == nil {
			r.adopt(h, seq)
			break
		}
		errs = append(errs, fmt.Errorf("checkpoint at seq %d: %w", seq, err))
	}
	return errors.Join(errs...)
}

func (r *replica) adopt(h *host.Host, restored uint64) {
	r.host = h
	r.restoredSeq.Store(restored)
	r.hostSeq.Store(h.Head().Seq())
	r.progress.Add(1)
	r.n.g.changed.notify()
}

// follow keeps a hot standby at the head.
func (r *replica) follow(ctx context.Context, head chain.Head) error {
	if !r.n.g.cfg.Hot || r.host.Head().Seq() >= head.Seq() {
		return nil
	}
	_, err := r.n.replay(ctx, r.host, 0)
	if err != nil {
		r.host = nil
		return err
	}
	r.hostSeq.Store(r.host.Head().Seq())
	return nil
}

// mustVerify says whether it is this member's turn to replay the journal
// before it restores the checkpoint. Turns follow from the manifest's digest,
// over all voters but the active, so that nobody has to agree on them.
func (r *replica) mustVerify(ref *fsm.CheckpointRef) bool {
	n := r.n
	switch {
	case n.g.cfg.VerifySync == VerifyAll:
		return true
	case n.g.cfg.VerifySync == VerifyOff || ref.Verified():
		return false
	}
	var active string
	n.machine.Read(func(s *fsm.State) { active, _, _ = s.Active() })
	var turns []string
	for _, m := range n.g.voters() {
		if m != active {
			turns = append(turns, m)
		}
	}
	if len(turns) == 0 {
		return true
	}
	d := ref.Seal.Manifest
	return turns[(int(d[0])<<8|int(d[1]))%len(turns)] == n.g.cfg.Member
}

// overdue says that nobody has verified the checkpoint within a sync interval.
func (r *replica) overdue(ref *fsm.CheckpointRef) bool {
	cfg := &r.n.g.cfg
	return cfg.VerifySync != VerifyOff && !ref.Verified() && r.failed != ref.Seal.Manifest &&
		!r.verified[ref.Seal.Manifest] && time.Since(time.Unix(0, ref.Time)) > cfg.SyncInterval
}

// base is a host at genesis or at a verified checkpoint before the newest, from
// which a replay can verify that one: the member's own host where it is such a
// one, else one that is restored for it.
func (r *replica) base(ctx context.Context, refs []fsm.CheckpointRef) (*host.Host, error) {
	g := r.n.g
	newest := refs[len(refs)-1].Seal.Seq
	restored := r.restoredSeq.Load()
	for i := len(refs) - 2; i >= -1; i-- {
		var seq uint64
		if i >= 0 {
			if seq = refs[i].Seal.Seq; !refs[i].Verified() {
				continue
			}
		}
		if h := r.host; h != nil && restored == seq && h.Poisoned() == nil && h.Head().Seq() <= newest {
			r.host = nil
			return h, nil
		}
		if i >= 0 {
			return r.n.restore(ctx, &refs[i].Seal)
		}
	}
	var pruned error
	r.n.machine.Read(func(s *fsm.State) { _, pruned = s.Journal(1) })
	if pruned != nil {
		return nil, nil
	}
	return host.New(g.cfg.New(), g.cfg.Founding, g.cfg.Keys.Log, g.hostConfig())
}

// verify replays the journal from a base up to the newest checkpoint: the
// links must be the same, and so must the state of a daemon whose snapshots
// are canonical. Without a base there is nothing to say.
func (r *replica) verify(ctx context.Context, refs []fsm.CheckpointRef) (err error) {
	n := r.n
	newest := &refs[len(refs)-1].Seal
	defer func() {
		if errors.Is(err, errReplay) || errors.Is(err, errForked) || errors.Is(err, errState) {
			r.failed = newest.Manifest
			n.log.Error("verified sync failed", "member", n.g.cfg.Member, "checkpoint", newest.Seq, "err", err)
		}
	}()
	h, err := r.base(ctx, refs)
	if err != nil || h == nil {
		return err
	}
	if _, err := n.replay(ctx, h, newest.Seq); err != nil {
		return err
	}
	if r.host == nil {
		r.host = h // until the checkpoint is restored
		r.hostSeq.Store(h.Head().Seq())
	}
	if h.Head().Hash != newest.Link {
		return fmt.Errorf("replay from the checkpoint before arrives at another link at seq %d: %w", newest.Seq, errForked)
	}
	if err := n.sameState(ctx, h, newest); err != nil {
		return err
	}
	// What was sealed must also restore to itself, else it is found out only by
	// the replay that verifies the next one: one failover too late.
	restored, err := n.restore(ctx, newest)
	if err == nil {
		err = n.sameState(ctx, restored, newest)
	}
	if err != nil {
		return err
	}
	r.adopt(restored, newest.Seq)
	r.verified[newest.Manifest] = true
	return nil
}

// report tells the active, in the log, which checkpoints this member holds
// durably and has verified, as long as the state machine does not know it.
func (r *replica) report(ctx context.Context, refs []fsm.CheckpointRef) error {
	me := r.n.g.cfg.Member
	for i := range refs {
		ref := &refs[i]
		verified := r.verified[ref.Seal.Manifest]
		if ref.HasDurable(me) && (!verified || ref.HasVerified(me)) || !r.n.g.checks.Complete(ref.Seal.Manifest) {
			continue
		}
		rep := fsm.Report{Member: me, StoreID: r.n.g.id.StoreID, Seq: ref.Seal.Seq, Manifest: ref.Seal.Manifest, Verified: verified}
		if err := r.n.g.sendReport(ctx, &rep); err != nil && !errors.Is(err, ErrNotActive) {
			return fmt.Errorf("report to the active: %w", err)
		}
	}
	return nil
}

// sendReport takes a sync report to the active, wherever that is.
func (g *Group) sendReport(ctx context.Context, rep *fsm.Report) error {
	if a, err := g.activation(); err == nil {
		return a.report(ctx, rep)
	}
	active, self := g.Active()
	if active == "" || self {
		return g.notActive()
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.CommitTimeout)
	defer cancel()
	return g.peers.report(ctx, active, rep)
}
