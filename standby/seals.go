package standby

import (
	"context"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// seals makes a checkpoint each sync interval, when the journal grows, and on
// demand. One at a time: a slow one skips intervals.
func (a *activation) seals() {
	cfg := &a.n.g.cfg
	tick := time.NewTicker(min(cfg.SyncInterval, time.Second))
	defer tick.Stop()
	last := time.Now().Add(-a.synced())
	due := a.n.due
	for {
		select {
		case <-a.ctx.Done():
			return
		case answer := <-a.sealNow:
			seal, err := a.seal(a.ctx)
			last = time.Now()
			answer <- sealed{seal, err}
			continue
		case <-due:
			if a.unsettled() >= 2 {
				continue // one more would not shorten the journal sooner
			}
		case <-tick.C:
			due = a.n.due
			var long bool
			a.n.machine.Read(func(s *fsm.State) { long = a.n.journalLong(s) })
			if time.Since(last) < cfg.SyncInterval && !long {
				continue
			}
		}
		last = time.Now()
		_, err := a.seal(a.ctx)
		if err != nil && a.ctx.Err() == nil {
			due = nil // until the next tick
			a.n.log.Error("checkpoint failed", "err", err)
			a.n.g.noteReason(fmt.Errorf("checkpoint failed: %w", err))
		}
		select {
		case <-a.n.due: // meant before
		default:
		}
	}
}

// unsettled is how many checkpoints are newer than the floor.
func (a *activation) unsettled() (n int) {
	a.n.machine.Read(func(s *fsm.State) {
		floor := s.Floor()
		for _, ref := range s.Checkpoints() {
			if ref.Seal.Seq > floor {
				n++
			}
		}
	})
	return n
}

// synced is how long ago the newest checkpoint was made, whoever was active
// then: a group that loses its active time and again must not fall behind.
func (a *activation) synced() time.Duration {
	var at int64
	a.n.machine.Read(func(s *fsm.State) { at = s.SyncedAt() })
	return min(max(0, time.Duration(a.n.g.now()-at)), a.n.g.cfg.SyncInterval)
}

// seal captures the daemon's state between two entries, writes it to the
// checkpoint store while events go on, and commits a SEAL link that names it.
// Without new events since the newest seal it returns that one, unless the
// journal is long and only a further seal can shorten it: it reaches back to
// the checkpoint before the floor's, and one that is full takes in no events.
func (a *activation) seal(ctx context.Context) (chain.Seal, error) {
	n := a.n
	var refs []fsm.CheckpointRef
	var further bool
	n.machine.Read(func(s *fsm.State) {
		refs = s.Checkpoints()
		further = len(refs) > 0 && s.Floor() == refs[len(refs)-1].Seal.Seq && n.journalLong(s)
	})
	var inputs uint64
	if err := a.do(ctx, func() { inputs = a.host.Head().Link.Inputs }); err != nil {
		return chain.Seal{}, err
	}
	if len(refs) > 0 && !further && refs[len(refs)-1].Seal.Inputs == inputs && n.holds(ctx, refs[len(refs)-1].Seal.Manifest) {
		return refs[len(refs)-1].Seal, nil
	}
	got := new(struct {
		capture *host.Capturing
		err     error
	})
	err := a.daemon(ctx, "taking a snapshot", func(h *host.Host) { got.capture, got.err = h.Capture() })
	if err == nil {
		err = got.err
	}
	if err != nil {
		return chain.Seal{}, err
	}
	capture := got.capture
	m, digest, err := a.writeCheckpoint(ctx, capture)
	if err != nil {
		return chain.Seal{}, err
	}
	pos := capture.Position
	seal := chain.Seal{
		Seq: pos.Tip.Head.Seq(), Link: pos.Tip.Head.Hash, Frontier: pos.Tip.Frontier.Hashes(),
		Inputs: pos.Tip.Head.Link.Inputs, Outputs: pos.Tip.Head.Link.Outputs,
		Horizon: chain.Derive("horizon", pos.Horizon), Manifest: digest, Size: m.Size,
	}
	record := seal.Marshal()
	_, err = a.record(ctx, func() (*fsm.Entry, *chain.Link, error) {
		tip := a.host.Tip()
		link := tip.Next(chain.Draft{Kind: chain.KindSeal, Term: a.term, Time: a.clock.read(), Input: chain.RecordDigest(chain.KindSeal, record)})
		return &fsm.Entry{Kind: fsm.SealEntry, Term: a.term, First: link.Seq, Record: record, Time: link.Time, Last: link.Hash()}, &link, nil
	})
	if err != nil {
		return chain.Seal{}, err
	}
	single := len(n.g.voters()) == 1
	rep := fsm.Report{Member: n.g.cfg.Member, StoreID: n.g.id.StoreID, Seq: seal.Seq, Manifest: digest, Verified: single}
	if err := a.report(ctx, &rep); err != nil {
		return seal, err
	}
	n.machine.Read(func(s *fsm.State) { refs = s.Checkpoints() })
	n.g.collect(refs)
	return seal, nil
}

// report commits a sync report.
func (a *activation) report(ctx context.Context, rep *fsm.Report) error {
	_, err := a.record(ctx, func() (*fsm.Entry, *chain.Link, error) {
		return &fsm.Entry{Kind: fsm.ReportEntry, Term: a.term, Record: rep.Marshal(), Time: a.clock.read()}, nil, nil
	})
	return err
}

// supervise polls the daemon's health each second, tells it of backpressure,
// and ends the role of an unhealthy active.
func (a *activation) supervise() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	pressed := false
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		level := float64(a.intake.events.Load()) / float64(a.intake.maxEvents)
		var press host.Control
		if level > 0.8 && !pressed {
			pressed, press = true, host.BackpressureOn{Level: min(level, 1)}
		} else if level < 0.5 && pressed {
			pressed, press = false, host.BackpressureOff{}
		}
		got := new(struct {
			health host.Health
			load   float64
		})
		if a.daemon(a.ctx, "telling its health", func(h *host.Host) {
			got.health, got.load = h.Health(), h.Saturation()
			if press != nil {
				h.Control(press)
			}
		}) != nil {
			continue // it is rebuilt, or the role ends
		}
		a.n.g.noteHealth(got.health, got.load)
		if got.health.State == host.Unhealthy {
			a.end(fmt.Errorf("the daemon reports itself unhealthy: %s", got.health.Reason))
			return
		}
	}
}
