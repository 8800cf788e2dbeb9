package standby

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	restoring   chan struct{} // has room for the one that is under way

	mu     sync.Mutex
	cancel context.CancelFunc // of the turn that runs now
	paused bool               // the member is promoting or active: the host is elsewhere

	// Owned by the goroutine.
	host     *host.Host
	verified map[chain.Hash]bool // manifests in use that this member's own replay agrees with
	failed   chain.Hash          // manifest whose verification failed: not tried again
	again    time.Time           // when it is after all, as it only hung; zero: never
	newest   chain.Hash          // manifest of the newest checkpoint
	since    time.Time           // when this member first saw it
	problem  error               // why it could not be had
	retry    time.Time           // not before then
}

func newReplica(n *node) *replica {
	return &replica{n: n, calls: make(chan func()), restoring: make(chan struct{}, 1), verified: make(map[chain.Hash]bool)}
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

// call runs f, which calls no daemon, on the replica's goroutine and waits for it.
func (r *replica) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	err := r.post(ctx, func() { f(); close(done) })
	if err == nil {
		<-done
	}
	return err
}

// post has f run on the replica's goroutine between turns. A daemon that hangs
// in a turn holds it up.
func (r *replica) post(ctx context.Context, f func()) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.n.g.cfg.PromotionStall, errHung)
	defer cancel()
	select {
	case r.calls <- f:
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
			h, err := r.fresh(ctx)
			if err != nil {
				return err
			}
			r.adopt(h, 0)
		}
		return r.follow(ctx, head)
	}
	newest := &refs[len(refs)-1]
	if newest.Seal.Manifest != r.newest {
		r.newest, r.since, r.retry = newest.Seal.Manifest, time.Now(), time.Time{}
	}
	if !r.again.IsZero() && time.Now().After(r.again) {
		r.failed, r.again = chain.Hash{}, time.Time{} // a full journal waits for this one: no other will come
	}
	if began := time.Now(); began.After(r.retry) {
		if r.problem = r.bring(ctx, refs); r.problem != nil { // each committed entry is a turn
			r.retry = time.Now().Add(min(time.Second+time.Since(began), 10*time.Second))
		}
	}
	if ctx.Err() != nil {
		r.retry = time.Time{}
		return ctx.Err()
	}
	problem := errors.Join(r.problem, r.report(ctx, refs))
	maps.DeleteFunc(r.verified, func(manifest chain.Hash, _ bool) bool {
		return !slices.ContainsFunc(refs, func(ref fsm.CheckpointRef) bool { return ref.Seal.Manifest == manifest })
	})
	n.g.collect(refs)
	if r.host != nil {
		problem = errors.Join(problem, r.follow(ctx, head))
	}
	if r.failed == newest.Seal.Manifest && problem == nil {
		problem = fmt.Errorf("checkpoint at seq %d was not verified by this member's replay: fix the daemon's snapshot or its determinism", newest.Seal.Seq)
	}
	return problem
}

// bring verifies and restores the newest checkpoint, as far as that is due here.
func (r *replica) bring(ctx context.Context, refs []fsm.CheckpointRef) (problem error) {
	newest := &refs[len(refs)-1]
	if r.host == nil || newest.Seal.Seq > r.restoredSeq.Load() {
		if r.mustVerify(newest) && r.failed != newest.Seal.Manifest && !r.deadlyUnder(refs) {
			problem = r.verify(ctx, refs)
		}
		return errors.Join(problem, r.restoreNewest(ctx, refs))
	}
	if r.overdue(newest) && !r.deadlyUnder(refs) {
		return r.verify(ctx, refs) // the member whose turn it was has not done so
	}
	return nil
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
		h, err := r.restore(ctx, &refs[i].Seal)
		if err == nil {
			r.adopt(h, seq)
			break
		}
		errs = append(errs, fmt.Errorf("checkpoint at seq %d: %w", seq, err))
	}
	return errors.Join(errs...)
}

// moved tells the watchdogs that what is waited for goes on.
func (r *replica) moved() { r.progress.Add(1) }

func (r *replica) adopt(h *host.Host, restored uint64) {
	r.host = h
	r.restoredSeq.Store(restored)
	r.hostSeq.Store(h.Head().Seq())
	r.n.g.noteHealth(host.Health{}, 0) // another daemon, which has said nothing yet
	r.moved()
	r.n.g.changed.notify()
}

// follow keeps a hot standby at the head.
func (r *replica) follow(ctx context.Context, head chain.Head) error {
	if !r.n.g.cfg.Hot || r.host.Head().Seq() >= head.Seq() {
		return nil
	}
	if d := r.n.g.barrier(r.host.Sequence(), head.Seq()); d != nil {
		return deadlyReplay(d) // a checkpoint beyond it may come
	}
	if err := r.replay(ctx, r.host, 0); err != nil {
		if ctx.Err() == nil || errors.Is(err, errHung) {
			r.host = nil
		} // else a promotion goes on with it
		return err
	}
	r.hostSeq.Store(r.host.Head().Seq())
	return nil
}
