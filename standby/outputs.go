package standby

import (
	"context"
	"errors"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

// readOutputs reads committed outputs from this member's disk. A damaged
// segment is fetched again from the other members rather than skipped.
func (g *Group) readOutputs(from uint64, n int) ([]chain.Output, error) {
	outs, err := g.storedOutputs(from, n)
	if errors.Is(err, durable.ErrDamaged) {
		if rerr := g.repairOutputs(err); rerr != nil {
			return nil, errors.Join(err, rerr)
		}
		return g.storedOutputs(from, n)
	}
	return outs, err
}

// storedOutputs is readOutputs for another member: two that lack the same must
// not ask each other in a circle.
func (g *Group) storedOutputs(from uint64, n int) ([]chain.Output, error) {
	if from >= g.outs.Next() {
		if g.archive.catchUp(); from >= g.outs.Next() {
			return nil, nil
		}
	}
	outs, err := g.outs.Read(from, n)
	var pruned *outputs.PrunedError
	if errors.As(err, &pruned) {
		return nil, &PrunedError{Oldest: pruned.Oldest}
	}
	return outs, err
}

// healArchive fills holes in the archive from the other members, looks for
// damage in all of the history, at the start and every hour, and lets go of
// outputs that are past their retention.
func (g *Group) healArchive() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	scrubbed, rest := uint64(0), time.Time{}
	for {
		hole := g.archive.hole.wait()
		if !g.archive.whole() {
			g.healOnce()
		}
		select {
		case <-hole:
		case <-tick.C:
			if time.Now().After(rest) {
				if scrubbed = g.archive.scrub(scrubbed); scrubbed >= g.hist.Size() {
					scrubbed, rest = 0, time.Now().Add(time.Hour)
				}
			}
			if err := g.outs.Prune(g.pastRetention()); err != nil {
				g.log.Warn("old outputs cannot be removed", "err", err)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// pastRetention says which links' outputs are older than they are kept. What
// counts is the time that was committed, which no wall clock moves by a leap and
// a restart does not begin anew.
func (g *Group) pastRetention() func(seq uint64) bool {
	newest, err := g.hist.Link(max(g.hist.Size(), 1) - 1)
	return func(seq uint64) bool {
		l, lerr := g.hist.Link(seq)
		return err == nil && lerr == nil && newest.Time-l.Time > int64(g.cfg.OutputsAge)
	}
}

func (g *Group) healOnce() {
	n := g.node.Load()
	if n == nil {
		return
	}
	err := n.fromAny(g.ctx, func(member string) error {
		ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
		defer cancel()
		return g.archive.heal(ctx, archiveOf{g.peers, member})
	})
	if err != nil && g.ctx.Err() == nil {
		g.noteReason(err)
	}
	g.changed.notify()
}

// repairOutputs fetches a damaged segment's outputs from another member and
// puts them back, if the links of this member's history commit to them.
func (g *Group) repairOutputs(damage error) error {
	var d *outputs.DamagedError
	n := g.node.Load()
	if !errors.As(damage, &d) || n == nil {
		return damage
	}
	return n.fromAny(g.ctx, func(member string) error {
		ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
		defer cancel()
		var all []chain.Output
		for next := d.From; next <= d.To; {
			outs, err := g.archive.fetchSteps(ctx, archiveOf{g.peers, member}, next, d.To)
			if err != nil {
				return err
			}
			all = append(all, outs...)
			next = outs[len(outs)-1].Number + 1
		}
		return g.archive.locked(func() error { return g.archive.sure(g.outs.Replace(all)) })
	})
}
