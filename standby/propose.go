package standby

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/poison"
)

// processing is a batch on its way through the daemon: what went in, and what
// has come out so far.
type processing struct {
	in   []task
	out  []processed
	last chain.Hash   // of the rooted last link
	err  error        // the host is poisoned by the event after the last in out
	at   atomic.Int32 // 1 + the index of the event that is in the daemon now, 0 while none is
}

// task is an event as the daemon's goroutine sees it, which may outlive the
// event's own way.
type task struct {
	ev     chain.Event
	refuse string // set: the host refuses it for this reason
}

// processed is what became of one event.
type processed struct {
	hash   chain.Hash // of its link, not rooted
	seq    uint64
	time   int64
	flags  chain.Flags
	reason string
	outs   [][]byte
}

// propose processes events from the backlog into one entry and proposes it
// together with the queries that were answered from the state after it.
func (a *activation) propose() {
	if err := a.host.Poisoned(); err != nil { // by a control event or a snapshot: no event is to blame
		a.rebuild(err)
		return
	}
	batch := a.admit()
	var hung error
	e := &a.scratch
	*e = fsm.Entry{Kind: fsm.NoopEntry, Term: a.term, Steps: e.Steps[:0]}
	if len(batch) > 0 {
		first := a.host.Head().Size()
		done, err := a.process(batch)
		if err != nil {
			return // all of it is in the backlog again
		}
		batch = batch[:done]
		a.ordinal++
		*e = fsm.Entry{Kind: fsm.Batch, Term: a.term, Ordinal: a.ordinal, First: first, Steps: e.Steps, Last: a.steps.last}
		for _, p := range batch {
			e.Steps = append(e.Steps, fsm.Step{Producer: p.ev.Producer, Sequence: p.ev.Sequence, Time: p.time, Flags: p.flags, Reason: p.reason, Payload: p.ev.Payload, Outputs: p.outs})
		}
	}
	queries := a.queries
	a.queries = nil
	if len(queries) > 0 {
		hung = a.answer(queries)
	}
	if len(batch)+len(queries) > 0 {
		a.fly(e, &flying{events: batch, queries: queries})
	}
	if hung != nil {
		a.n.g.leftBehind("a query", hung)
		a.rebuild(hung)
	}
}

// admit takes the next events off the backlog that are due and fit in an
// entry, and notes them as in flight. The others are answered.
func (a *activation) admit() []*pending {
	cfg := &a.n.g.cfg
	var batch []*pending
	size := 0
	busy := a.n.journalFull()
	if busy && a.held() {
		return nil
	}
	accused := a.n.g.accusations()
	for len(a.backlog) > 0 && len(batch) < cfg.EntrySteps && size < cfg.EntryBytes {
		p := a.backlog[0]
		a.backlog[0] = nil
		a.backlog = a.backlog[1:]
		if !p.sub.claim() {
			p.settle(Result{Err: context.Canceled})
			continue
		}
		if busy {
			p.settle(Result{Err: &BusyError{RetryAfter: time.Second, Reason: "the journal is full until a majority has the newest checkpoint"}})
			continue
		}
		if err := a.check(&p.ev); err != nil {
			p.settle(Result{Err: err})
			continue
		}
		if !a.flights.admit(p, a.n.g.duplicate) {
			continue
		}
		if len(accused) > 0 && !a.judge(p, accused) {
			continue
		}
		a.flights.add(p)
		batch = append(batch, p)
		size += stepOverhead + len(p.ev.Producer) + len(p.ev.Payload)
	}
	if len(a.backlog) == 0 {
		a.backlog = nil
	}
	return batch
}

// stepOverhead is about what a step takes in an entry besides its bytes.
const stepOverhead = 64

// process has the daemon process a batch, as far as one entry may grow by its
// outputs; the rest goes back to the backlog. On an error all of it does, and
// the host was replaced: nothing of a batch in which the daemon failed is
// proposed, and the event on which it failed will be refused by the host.
func (a *activation) process(batch []*pending) (int, error) {
	w, h, l, pen, limit := a.steps, a.host, a.leash, a.pen, a.n.g.cfg.EntryBytes
	*w = processing{in: w.in[:0], out: w.out[:0]}
	now := a.clock.read()
	for _, p := range batch {
		ev := chain.Event{Producer: p.ev.Producer, Sequence: p.ev.Sequence, Time: now, Payload: p.ev.Payload}
		w.in = append(w.in, task{ev, p.refuse})
	}
	err := l.run(func() { w.run(h, l, pen, limit) })
	var culprit int
	if err != nil {
		a.steps = new(processing) // the old one belongs to who hangs
		if culprit = int(w.at.Load()) - 1; culprit < 0 {
			a.host = nil // it belongs to who hangs, too
			a.flights.drop(batch)
			a.backlog = append(batch, a.backlog...)
			a.end(fmt.Errorf("the disk does not take the note of an event within %v", l.stall)) // no event is to blame
			return 0, err
		}
		a.n.g.leftBehind(fmt.Sprintf("event %d of producer %q", batch[culprit].ev.Sequence, batch[culprit].ev.Producer), err)
	} else if err = w.err; err != nil {
		culprit = len(w.out)
	}
	if err != nil {
		a.flights.drop(batch)
		batch[culprit].refuse = err.Error()
		a.backlog = append(batch, a.backlog...)
		a.rebuild(err)
		return 0, err
	}
	done := len(w.out)
	for i := range w.out {
		p, r := batch[i], &w.out[i]
		p.hash, p.seq, p.time, p.flags, p.reason, p.outs = r.hash, r.seq, r.time, r.flags, r.reason, r.outs
	}
	batch[done-1].hash = w.last
	if rest := batch[done:]; len(rest) > 0 {
		a.flights.drop(rest)
		a.backlog = append(append([]*pending(nil), rest...), a.backlog...)
	}
	return done, nil
}

// run is what happens on the leash. It touches nothing but the host, its pen and w.
func (w *processing) run(h *host.Host, l *leash, pen *poison.Pen, limit int) {
	pen.Begin()
	l.beat()
	next := int32(0)
	h.Attend(func(ev chain.Event, input chain.Hash) {
		pen.Note(ev, input)
		l.beat() // the daemon has all its time, however long the disk took
		w.at.Store(next)
	})
	defer pen.Clear()
	size := 0
	for i := range w.in {
		t := &w.in[i]
		next++
		var st host.Step
		if t.refuse != "" {
			st, w.err = h.Refuse(t.ev, t.refuse)
		} else {
			st, w.err = h.Deliver(t.ev)
		}
		w.at.Store(0)
		if w.err != nil {
			return
		}
		w.out = append(w.out, processed{st.Hash, st.Link.Seq, st.Event.Time, st.Flags, st.Reason, st.Outputs})
		l.beat()
		size += stepOverhead + len(t.ev.Producer) + len(t.ev.Payload) + len(st.Reason)
		for _, o := range st.Outputs {
			size += 4 + len(o)
		}
		if size >= limit {
			break
		}
	}
	_, w.last = h.Root()
}

// answer asks the daemon the queries, from the state after the newest event.
func (a *activation) answer(queries []*ask) error {
	type reply struct {
		data []byte
		err  error
	}
	out, h, l := make([]reply, len(queries)), a.host, a.leash
	before := l.beats.Load()
	err := l.run(func() {
		for i, q := range queries {
			if !q.check {
				out[i].data, out[i].err = h.Query(q.request)
			}
			l.beat()
		}
	})
	done := len(queries)
	if err != nil {
		done = int(l.beats.Load() - before)
	}
	for i, q := range queries {
		switch {
		case i < done:
			q.answer.Data, q.err = out[i].data, out[i].err
		case i == done:
			q.err = err
		case !q.check: // not its fault
			q.err = &BusyError{a.n.g.cfg.StallTimeout, "the daemon hung in another query and is rebuilt"}
		}
		q.answer.Seq, q.answer.Term, q.answer.Member = h.Head().Seq(), a.term, a.n.g.cfg.Member
	}
	return err
}

// fly proposes an entry and hands it to the acker. Only the loop calls it.
func (a *activation) fly(e *fsm.Entry, fl *flying) {
	a.inflight++
	fl.future = a.n.raft.Apply(e.Marshal(nil), a.n.g.cfg.StallTimeout) // to be taken by Raft, not to commit
	a.landed <- fl                                                     // has room for all that may be in flight
}

// check refuses what can be refused without a record, before the daemon sees it.
func (a *activation) check(ev *Event) error {
	limits := a.n.g.cfg.Founding.Settings
	switch {
	case len(ev.Payload) > int(limits.MaxEventBytes):
		return fmt.Errorf("%w: %d bytes, the group's limit is %d: split it", ErrTooLarge, len(ev.Payload), limits.MaxEventBytes)
	case len(ev.Producer) > chain.MaxProducer:
		return fmt.Errorf("%w: the producer's name has %d bytes, at most %d are allowed", ErrBadEvent, len(ev.Producer), chain.MaxProducer)
	case ev.Producer == "" && ev.Sequence != 0:
		return fmt.Errorf("%w: sequence %d without a producer: name the producer or leave both out", ErrBadEvent, ev.Sequence)
	case ev.Producer != "" && ev.Sequence == 0:
		return fmt.Errorf("%w: producer %q sent number 0: numbers begin at 1", ErrBadEvent, ev.Producer)
	}
	return nil
}

// rebuild replaces a host that is poisoned or left behind by one at the
// committed head, once everything in flight has landed.
func (a *activation) rebuild(cause error) {
	var poison *host.PoisonError
	if !errors.As(cause, &poison) && !errors.Is(cause, errHung) {
		a.end(fmt.Errorf("the host failed: %w", cause))
		return
	}
	a.host = nil // nobody may touch it any more
	a.n.log.Error("the daemon failed and is rebuilt from checkpoint and journal", "cause", cause)
	for a.inflight > 0 {
		select {
		case fl := <-a.acks:
			a.acked(fl)
		case <-a.ctx.Done():
			return
		}
	}
	h, err := watched(a.ctx, a.n.g.cfg.PromotionStall, a.n.replica.progress.Load, func(ctx context.Context) (*host.Host, error) {
		h, _, err := a.n.buildHost(ctx, nil)
		return h, err
	})
	if errors.Is(err, errHung) {
		a.n.g.leftBehind("a replay", err)
	}
	if err != nil {
		a.end(fmt.Errorf("the daemon could not be rebuilt: %w", err))
		return
	}
	a.leash.retire()
	a.pen.Close()
	a.host, a.leash, a.pen = h, newLeash(a.n.g.cfg.StallTimeout), a.n.g.poison.Pen(false)
}
