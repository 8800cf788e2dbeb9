package standby

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/peernet"
)

// sickness is why this member may not be active for now.
type sickness struct {
	err   error
	until time.Time
}

// recovering says that this member stalled not long ago, or nil.
func (g *Group) recovering() error {
	if s := g.sick.Load(); s != nil && time.Now().Before(s.until) {
		return fmt.Errorf("%s %w: %w", g.cfg.Member, errRecovers, s.err)
	}
	return nil
}

var errRecovers = errors.New("recovers")

// recovery is how many stall timeouts a member that stalled must be well
// before it may be active again, and after how many it stops instead.
const recovery = 5

// applying notes when the state machine's goroutine began what it is at.
type applying struct {
	born  time.Time
	since atomic.Int64 // time since born; 0: it is idle
}

func (a *applying) begin() { a.since.Store(max(1, int64(time.Since(a.born)))) }
func (a *applying) end()   { a.since.Store(0) }

func (a *applying) stalled() time.Duration {
	s := a.since.Load()
	if s == 0 {
		return 0
	}
	return time.Since(a.born) - time.Duration(s)
}

// watchdog sees that the disk and the state machine go on and that this process
// is scheduled. It touches no file and waits for nobody. Raft keeps a leader
// whose disk hangs, because its heartbeats do not go through the disk; so a
// leader that stalls is taken off the network here, after it has asked its
// successor to stand for election. The daemon's own stalls are the leash's.
func (n *node) watchdog() {
	stall := n.g.cfg.StallTimeout
	step := max(stall/4, time.Millisecond)
	tick := time.NewTicker(step)
	defer tick.Stop()
	last := time.Now()
	var stuck time.Time
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		stuck = n.unstick(stuck)
		late := time.Since(last) - step
		last = time.Now()
		disk, apply := n.stores.Stalled(), max(n.applying.stalled(), n.g.archive.writing.stalled())
		switch {
		case late > stall:
			n.yield(fmt.Errorf("this process was not scheduled for %v", late.Round(time.Millisecond)))
		case disk > stall:
			n.stalled(fmt.Errorf("the disk has not finished a write of Raft's for %v", disk.Round(time.Millisecond)))
		case apply > stall*recovery:
			n.g.fail(fmt.Errorf("the state machine has been stuck in an entry for %v: look at this machine's disk, then restart the member", apply.Round(time.Millisecond)))
		case apply > stall:
			n.stalled(fmt.Errorf("the state machine has been stuck in an entry for %v", apply.Round(time.Millisecond)))
		default:
			n.trans.Mute(false)
		}
	}
}

// yield ends the active role, if this member has it.
func (n *node) yield(err error) {
	if a := n.active.Load(); a != nil && n.active.CompareAndSwap(a, nil) {
		n.log.Error("the active steps down", "member", n.g.cfg.Member, "cause", err)
		n.g.noteReason(err)
		a.end(err)
	}
}

// stalled takes a member that cannot work out of the active role until it has
// been well for a while.
func (n *node) stalled(err error) {
	n.g.sick.Store(&sickness{err, time.Now().Add(recovery * n.g.cfg.StallTimeout)})
	n.yield(err)
	if n.raft.State() == raft.Leader && n.trans.Mute(true) {
		n.g.noteReason(err)
		n.goFunc(func() { n.g.appoint(n.ctx) })
	}
}

// appoint asks the best of the other members to stand for election now: a
// transfer of leadership for when this member's Raft cannot make one.
func (g *Group) appoint(ctx context.Context) {
	to := g.successor()
	if to == "" {
		return
	}
	if _, err := g.peers.call(ctx, to, http.MethodPost, "/peer/stand", nil, maxPeerJSON); err != nil {
		g.log.Warn("the successor was not reached; the others will miss the heartbeats", "successor", to, "err", err)
	}
}

// serveStand has this member stand for election because its leader asks for it.
func (g *Group) serveStand(w http.ResponseWriter, r *http.Request) {
	from, ok := r.Context().Value(peerKey{}).(peernet.Identity)
	n := g.node.Load()
	if !ok || n == nil || !n.followed(from.Member) {
		http.Error(w, "only the member that this one follows can ask for that", http.StatusForbidden)
		return
	}
	n.stand(r.Context(), from.Member)
}
