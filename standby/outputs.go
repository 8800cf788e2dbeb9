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
// damage in all of it, at the start and every hour, and lets go of outputs that
// are past their retention.
func (g *Group) healArchive() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var links, outs scrubbing
	for {
		hole := g.archive.hole.wait()
		if !g.archive.whole() {
			g.healOnce()
		}
		select {
		case <-hole:
		case from := <-g.missed:
			g.scrubOutputs(from)
		case <-tick.C:
			links.step(g.hist.Size(), g.archive.scrub)
			outs.step(g.outs.Next(), g.scrubOutputs)
			if err := g.outs.Prune(g.pastRetention()); err != nil {
				g.log.Warn("old outputs cannot be removed", "err", err)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// scrubbing goes through what is kept piece by piece, and rests for an hour.
type scrubbing struct {
	next uint64
	rest time.Time
}

func (s *scrubbing) step(end uint64, piece func(from uint64) uint64) {
	if time.Now().After(s.rest) {
		if s.next = piece(s.next); s.next >= end {
			*s = scrubbing{rest: time.Now().Add(time.Hour)}
		}
	}
}

// scrubOutputs reads a file of outputs again, and has what is damaged fetched:
// each member's damage is to be gone before another one needs just these outputs.
func (g *Group) scrubOutputs(from uint64) uint64 {
	from = max(from, g.outs.Oldest())
	next, err := g.outs.Scrub(from)
	if err == nil {
		return next
	}
	g.log.Error("outputs cannot be read from the disk", "err", err)
	if !g.archive.alone {
		if rerr := g.repairOutputs(err); rerr != nil {
			g.log.Warn("outputs could not be fetched again", "err", rerr)
		}
	}
	return next
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
	err := fromAny(g.ctx, n.sources(), func(member string) error {
		ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
		defer cancel()
		return g.archive.heal(ctx, archiveOf{g.peers, member})
	})
	if err != nil && g.ctx.Err() == nil {
		g.noteReason(err)
	}
	g.changed.notify()
}

// repairOutputs fetches damaged outputs from the other members, piece by piece,
// and puts them back, if the links of this member's history commit to them. What
// one member cannot give another may.
func (g *Group) repairOutputs(damage error) error {
	var d *outputs.DamagedError
	n := g.node.Load()
	if !errors.As(damage, &d) || n == nil {
		return damage
	}
	from := d.From
	return fromAny(g.ctx, n.sources(), func(member string) error {
		ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
		defer cancel()
		for from <= d.To {
			next, err := g.archive.patchOutputs(ctx, archiveOf{g.peers, member}, from, d.To)
			if err != nil {
				return err
			}
			from = next
		}
		return nil
	})
}
