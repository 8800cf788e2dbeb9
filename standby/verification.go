package standby

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// mustVerify says whether it is this member's turn to replay the journal
// before it restores the checkpoint. Turns follow from the manifest's digest,
// over all voters that answer but the active, so that nobody has to agree on them:
// if two think differently of a third, both verify or neither does for a while.
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
		if seen, ok := n.g.seen.get(m); m != active && (m == n.g.cfg.Member || !ok || seen.err == nil) {
			turns = append(turns, m)
		}
	}
	if len(turns) == 0 {
		return true
	}
	d := ref.Seal.Manifest
	return turns[(int(d[0])<<8|int(d[1]))%len(turns)] == n.g.cfg.Member
}

// overdue says that nobody has verified the newest checkpoint within a sync interval,
// or soon enough for a journal that is long, since this member first saw it: the time
// that is recorded with it is another member's.
func (r *replica) overdue(ref *fsm.CheckpointRef) bool {
	cfg := &r.n.g.cfg
	patience := cfg.SyncInterval
	r.n.machine.Read(func(s *fsm.State) {
		if r.n.journalLong(s) {
			patience = min(patience, longPatience)
		}
	})
	return cfg.VerifySync != VerifyOff && !ref.Verified() && r.failed != ref.Seal.Manifest &&
		!r.verified[ref.Seal.Manifest] && time.Since(r.since) > patience
}

// longPatience is how long the member whose turn it is has to verify a checkpoint
// while the journal is long, before the others do.
const longPatience = time.Second

// deadlyUnder says that the replay that verifies the newest checkpoint would end
// this member's process: another member verifies it.
func (r *replica) deadlyUnder(refs []fsm.CheckpointRef) bool {
	var from uint64
	if len(refs) > 1 {
		from = refs[len(refs)-2].Seal.Seq
	}
	return r.n.g.barrier(from, refs[len(refs)-1].Seal.Seq) != nil
}

// base is a host at genesis or at a verified checkpoint before the newest, from
// which a replay can verify that one: the member's own host where it is such a
// one, else one that is restored for it.
func (r *replica) base(ctx context.Context, refs []fsm.CheckpointRef) (*host.Host, error) {
	newest := refs[len(refs)-1].Seal.Seq
	restored := r.restoredSeq.Load()
	for i := len(refs) - 2; i >= -1; i-- {
		var seq uint64
		if i >= 0 {
			if seq = refs[i].Seal.Seq; !refs[i].Verified() {
				continue
			}
		}
		if h := r.host; h != nil && restored == seq && h.Poisoned() == nil && h.Sequence() <= newest {
			r.host = nil
			return h, nil
		}
		if i >= 0 {
			return r.restore(ctx, &refs[i].Seal)
		}
	}
	var pruned error
	r.n.machine.Read(func(s *fsm.State) { _, pruned = s.Journal(1) })
	if pruned != nil {
		return nil, nil
	}
	return r.fresh(ctx)
}

// verify replays the journal from a base up to the newest checkpoint: the
// links must be the same, and so must the state of a daemon whose snapshots
// are canonical. Without a base there is nothing to say.
func (r *replica) verify(ctx context.Context, refs []fsm.CheckpointRef) (err error) {
	n := r.n
	newest := &refs[len(refs)-1].Seal
	defer func() {
		if errors.Is(err, errReplay) || errors.Is(err, errForked) || errors.Is(err, errState) || errors.Is(err, errDeadly) || errors.Is(err, errHung) {
			r.failed, r.again = newest.Manifest, time.Time{}
			if errors.Is(err, errHung) { // maybe for the machine's sake
				r.again = time.Now().Add(n.g.cfg.standbyStall())
			}
			n.log.Error("verified sync failed", "member", n.g.cfg.Member, "checkpoint", newest.Seq, "err", err)
		}
	}()
	own := r.host
	h, err := r.base(ctx, refs)
	if err != nil || h == nil {
		return err
	}
	if err := r.replay(ctx, h, newest.Seq); err != nil {
		if h == own && ctx.Err() != nil && !errors.Is(err, errHung) {
			r.host = h // a promotion goes on with it
		}
		return err
	}
	if r.host == nil {
		r.host = h // until the checkpoint is restored
		r.hostSeq.Store(h.Head().Seq())
	}
	if h.Head().Hash != newest.Link {
		return fmt.Errorf("replay from the checkpoint before arrives at another link at seq %d: %w", newest.Seq, errForked)
	}
	if err := r.sameState(ctx, h, newest); err != nil {
		if errors.Is(err, errHung) && r.host == h {
			r.host = nil // it is left behind
		}
		return err
	}
	// What was sealed must also restore to itself, else it is found out only by
	// the replay that verifies the next one: one failover too late.
	restored, err := r.restore(ctx, newest)
	if err == nil {
		err = r.sameState(ctx, restored, newest)
	}
	if err != nil {
		return err
	}
	r.adopt(restored, newest.Seq)
	r.verified[newest.Manifest] = true
	return nil
}

// report tells the active, in the log, which checkpoints this member holds
// durably and has verified, as long as the state machine does not know it. Where
// nothing is verified it vouches for what it has restored: a floor that waited for
// a replay would never move, and the journal be full for good.
func (r *replica) report(ctx context.Context, refs []fsm.CheckpointRef) error {
	me := r.n.g.cfg.Member
	for i := range refs {
		ref := &refs[i]
		verified := r.verified[ref.Seal.Manifest] || r.n.g.cfg.VerifySync == VerifyOff && ref.Seal.Seq == r.restoredSeq.Load()
		if ref.HasDurable(me) && (!verified || ref.HasVerified(me)) || !r.n.holds(ctx, ref.Seal.Manifest) {
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
