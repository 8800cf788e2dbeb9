package standby

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/internal/outputs"
)

// archive keeps what committed entries leave behind on this member's disk:
// every link with its Merkle hashes, the records, and the outputs. The state
// machine's goroutine hands entries over and a goroutine of the archive appends
// them, many at a time; a healer fills holes from the other members after a
// Raft snapshot or a damaged file. The Raft log holds the truth, so nothing is
// fsynced here before a Raft snapshot lets go of entries.
type archive struct {
	log  *slog.Logger
	hist *history.Store
	outs *outputs.Store
	hole *signal    // something is missing
	root chain.Link // GENESIS, which every member knows

	alone bool        // a group of one: what is damaged stays
	fail  func(error) // ends the member

	queue   queue    // handed over, not looked at yet
	writing applying // the archive's goroutine

	mu      sync.Mutex    // guards what follows: who appends, and the healer
	target  chain.Head    // committed head below which a hole may be
	outputs uint64        // outputs committed up to target
	waiting []*fsm.Result // committed after the hole, in order
	bytes   int           // in them, about
	dropped bool          // waiting overflowed: the hole reaches to target
	healing bool          // the healer appends now
	lost    error         // what is on the disk is unknown, or not all is kept: only a restart helps
	links   []chain.Link  // scratch: of entries that are appended together
	tree    []chain.Hash
}

// What bounds the results kept in memory while a hole is healed. A group of one
// has nobody to fetch from: the bytes alone do not end it.
const (
	maxWaiting      = 4096
	maxWaitingBytes = 64 << 20
)

// weight is about what a result takes in memory.
func weight(r *fsm.Result) int {
	n := len(r.Links)*chain.LinkSize + len(r.Record)
	for i := range r.Steps {
		n += len(r.Steps[i].Payload)
		for _, o := range r.Steps[i].Outputs {
			n += len(o)
		}
	}
	return n
}

// aim notes the newest entry that was handed over.
func (a *archive) aim(r *fsm.Result) {
	last := r.Links[len(r.Links)-1]
	a.target, a.outputs = chain.Head{Link: last, Hash: r.Head.Hash}, last.Outputs
}

// keep has an entry wait until the hole before it is healed.
func (a *archive) keep(r *fsm.Result) {
	if a.hist.Size() > r.First {
		return // stored before a restart
	}
	a.aim(r)
	switch {
	case len(a.waiting) < maxWaiting && (a.bytes < maxWaitingBytes || a.alone) && !a.dropped:
		a.waiting = append(a.waiting, r)
		a.bytes += weight(r)
	case a.alone:
		a.stop(fmt.Errorf("%d entries cannot be archived, and no other member keeps them", len(a.waiting)))
	default:
		a.waiting, a.bytes, a.dropped = nil, 0, true
	}
	a.hole.notify()
}

// drain stores what waits, as far as nothing is missing before it any more.
func (a *archive) drain() error {
	for !a.healing && len(a.waiting) > 0 {
		r := a.waiting[0]
		switch size := a.hist.Size(); {
		case r.First > size || r.First == size && a.outs.Next() < firstOutput(r):
			return nil
		case r.First == size:
			if err := a.store(a.waiting[:1]); err != nil {
				return err
			}
		}
		a.waiting[0] = nil
		a.waiting, a.bytes = a.waiting[1:], a.bytes-weight(r)
	}
	return nil
}

// firstOutput is the number that the entry's first output has or would have.
func firstOutput(r *fsm.Result) uint64 {
	n := uint64(0)
	for i := range r.Steps {
		n += uint64(len(r.Steps[i].Outputs))
	}
	return r.Links[len(r.Links)-1].Outputs - n + 1
}

// store appends entries that follow each other.
func (a *archive) store(rs []*fsm.Result) error {
	first, end := firstOutput(rs[0]), rs[len(rs)-1]
	last := &end.Links[len(end.Links)-1]
	next := first
	outs := make([]chain.Output, 0, last.Outputs+1-first)
	links, tree := rs[0].Links, rs[0].Tree
	if len(rs) > 1 {
		links, tree = a.links[:0], a.tree[:0]
	}
	for _, r := range rs {
		for i := range r.Steps {
			for _, o := range r.Steps[i].Outputs {
				outs = append(outs, chain.Output{Number: next, Seq: r.Links[i].Seq, Term: r.Links[i].Term, Payload: o})
				next++
			}
		}
	}
	if have := a.outs.Next(); have > first {
		outs = outs[min(have-first, uint64(len(outs))):] // written by an earlier try that failed after it
	}
	if err := a.appendOutputs(outs); err != nil {
		return err
	}
	for _, r := range rs {
		if len(rs) > 1 {
			links, tree = append(links, r.Links...), append(tree, r.Tree...)
			a.links, a.tree = links, tree
		}
		if r.Kind != fsm.Batch {
			if err := a.hist.PutRecord(r.First, r.Record); err != nil {
				return err
			}
		}
	}
	return a.hist.AppendTree(links, tree)
}

// reset fits the archive to a state machine that was just restored: what goes
// beyond it comes again from the log, what is missing is a hole.
func (a *archive) reset(tip *chain.Tip) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takeAll() // what the state before brought
	size, outs := tip.Head.Size(), tip.Head.Link.Outputs
	a.waiting, a.bytes, a.dropped = nil, 0, false
	a.target, a.outputs = tip.Head, outs
	if a.alone {
		if err := a.resume(tip); err != nil {
			a.stop(err)
		}
		return
	}
	if a.hist.Size() > size {
		if err := a.hist.Truncate(size); err != nil {
			a.log.Error("the history cannot be cut to the state", "err", err)
		}
	}
	if a.hist.Size() == size {
		if err := a.hist.Check(tip.Frontier); err != nil {
			a.log.Error("the history is damaged and fetched again", "err", err)
			a.hist.Truncate(0)
		}
	}
	if a.hist.Size() == 0 {
		a.hist.Append([]chain.Link{a.root})
	}
	if a.outs.Next() > outs+1 {
		if err := a.outs.Truncate(outs + 1); err != nil {
			a.log.Error("the outputs cannot be cut to the state", "err", err)
		}
	}
	if a.hist.Size() != size || a.outs.Next() != outs+1 {
		a.dropped = true
		a.hole.notify()
	}
}

// sync makes everything handed over so far durable, but for what waits.
func (a *archive) sync() error {
	a.catchUp()
	err := errors.Join(a.outs.Sync(), a.hist.Sync())
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.stop(fmt.Errorf("%w: %w", durable.ErrUnsure, err))
	}
	return a.lost
}

// stop ends the member, and has Raft keep its entries: the restart cuts the
// archive to the newest Raft snapshot and takes the rest from the log again.
func (a *archive) stop(err error) {
	if a.lost == nil {
		a.lost = fmt.Errorf("the archive cannot go on: look at this machine's disk, then restart the member: %w", err)
		a.fail(a.lost)
	}
}

// sure passes on an error after which only a restart can know what is on the
// disk, as it does any other, and then ends the member.
func (a *archive) sure(err error) error {
	if errors.Is(err, durable.ErrUnsure) {
		a.stop(err)
	}
	return err
}

func (a *archive) appendOutputs(outs []chain.Output) error { return a.sure(a.outs.Append(outs)) }

// settle is sync before Raft lets go of entries: it fails while some of them
// only wait in memory. Those that were too many to wait the other members have.
func (a *archive) settle() error {
	a.mu.Lock()
	a.takeAll()
	err, n := a.drain(), len(a.waiting)
	a.mu.Unlock()
	if err == nil && n > 0 {
		err = fmt.Errorf("%d entries wait for what is missing before them", n)
	}
	if err != nil {
		return err
	}
	return a.sync()
}

// whole says whether nothing is missing below the committed head. What waits
// because it could not be written is tried again.
func (a *archive) whole() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takeAll()
	if err := a.drain(); err != nil {
		return false
	}
	return len(a.waiting) == 0 && !a.dropped && a.hist.Size() == a.target.Size() && a.outs.Next() == a.outputs+1
}
