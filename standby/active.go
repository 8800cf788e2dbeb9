package standby

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
)

// activation is one stay in the active role: one term, one host, one loop. It
// is thrown away whole when the role ends; nothing of it is repaired.
type activation struct {
	n       *node
	term    uint64
	ctx     context.Context // ends with the role
	end     context.CancelCauseFunc
	intake  *intake
	calls   chan func() // run by the loop, between events
	asks    chan *ask
	sealNow chan chan sealed // checkpoints on demand
	acks    chan *flying
	landed  chan *flying // to the acker, in order of proposal
	since   time.Time

	// Owned by the loop.
	host     *host.Host
	ordinal  uint64 // of the newest proposed entry that made links
	backlog  []*pending
	queries  []*ask
	flights  *flights
	inflight int
	drained  bool // intake is shut for a switchover
	scratch  fsm.Entry
}

// ask is a query on its way.
type ask struct {
	request []byte
	answer  Answer
	err     error
	done    chan struct{}
}

// flying is one proposed entry.
type flying struct {
	future  raft.ApplyFuture
	events  []*pending
	queries []*ask
	then    func(*fsm.Result, error) // for records: told by the acker
	plain   bool                     // a record that makes no link
}

func newActivation(n *node, term uint64, h *host.Host) *activation {
	cfg := &n.g.cfg
	a := &activation{
		n: n, term: term, host: h,
		intake: newIntake(cfg.QueueEvents, cfg.QueueBytes),
		calls:  make(chan func()), asks: make(chan *ask, 1024), sealNow: make(chan chan sealed),
		acks: make(chan *flying, cfg.EntriesInFlight+4), landed: make(chan *flying, cfg.EntriesInFlight+4),
		flights: newFlights(n.machine), since: time.Now(),
	}
	a.ctx, a.end = context.WithCancelCause(n.ctx)
	return a
}

// errRoleEnd is the cause when the role ends without a fault.
var errRoleEnd = errors.New("the active role ended")

// loop owns the host until the role ends. It never waits for a commit: it
// processes what is queued and proposes one entry a round while the acker
// answers the producers.
func (a *activation) loop() {
	defer a.abandon()
	for a.ctx.Err() == nil {
		if len(a.backlog)+len(a.queries) > 0 && a.inflight < a.n.g.cfg.EntriesInFlight {
			a.poll()
			a.propose()
			continue
		}
		in := a.intake.ch
		if a.drained || len(a.backlog) >= a.n.g.cfg.EntrySteps {
			in = nil
		}
		select {
		case s := <-in:
			a.take(s)
		case q := <-a.asks:
			a.queries = append(a.queries, q)
		case f := <-a.calls:
			f()
		case fl := <-a.acks:
			a.acked(fl)
		case <-a.ctx.Done():
		}
	}
}

// poll takes in whatever is there without waiting, up to a full entry: load
// makes entries larger, idleness keeps them small.
func (a *activation) poll() {
	for range 2 * a.n.g.cfg.EntrySteps {
		in := a.intake.ch
		if a.drained || len(a.backlog) >= a.n.g.cfg.EntrySteps {
			in = nil
		}
		select {
		case s := <-in:
			a.take(s)
		case q := <-a.asks:
			a.queries = append(a.queries, q)
		case f := <-a.calls:
			f()
		case fl := <-a.acks:
			a.acked(fl)
		default:
			return
		}
	}
}

func (a *activation) take(s *submission) {
	if !a.intake.take(s) {
		return
	}
	for i := range s.events {
		a.backlog = append(a.backlog, &s.events[i])
	}
}

func (a *activation) acked(fl *flying) {
	a.inflight--
	a.flights.landed(fl.events)
}

// propose processes events from the backlog into one entry and proposes it
// together with the queries that were answered from the state after it.
func (a *activation) propose() {
	cfg := &a.n.g.cfg
	e := &a.scratch
	*e = fsm.Entry{Kind: fsm.Batch, Term: a.term, Ordinal: a.ordinal + 1, First: a.host.Head().Size(), Steps: e.Steps[:0]}
	var done []*pending
	size := 0
	busy := a.n.journalFull()
	for len(a.backlog) > 0 && len(e.Steps) < cfg.EntrySteps && size < cfg.EntryBytes {
		p := a.backlog[0]
		a.backlog[0] = nil
		a.backlog = a.backlog[1:]
		if busy {
			p.finish(Result{Err: &BusyError{RetryAfter: time.Second, Reason: "the journal is full until a majority has the newest checkpoint"}})
			continue
		}
		if err := a.check(&p.ev); err != nil {
			p.finish(Result{Err: err})
			continue
		}
		if !a.flights.admit(p, a.n.g.duplicate) {
			continue
		}
		if err := a.process(p); err != nil {
			// The host is poisoned. Nothing of this entry was proposed: put all of
			// it back, rebuild the host once everything in flight has landed, and
			// have the host refuse the culprit.
			a.flights.drop(done)
			p.refuse = err.Error()
			a.backlog = append(append(done, p), a.backlog...)
			a.rebuild(err)
			return
		}
		a.flights.add(p)
		done = append(done, p)
		st := fsm.Step{Producer: p.ev.Producer, Sequence: p.ev.Sequence, Time: p.time, Flags: p.flags, Reason: p.reason, Payload: p.ev.Payload, Outputs: p.outs}
		e.Steps = append(e.Steps, st)
		size += stepSize(&st)
	}
	if len(a.backlog) == 0 {
		a.backlog = nil
	}
	if len(done) > 0 {
		_, e.Last = a.host.Root()
		last := done[len(done)-1]
		last.hash = e.Last
		last.flags |= chain.Rooted
		a.ordinal++
	} else if len(a.queries) > 0 {
		*e = fsm.Entry{Kind: fsm.NoopEntry, Term: a.term, Steps: e.Steps[:0]}
	} else {
		return
	}
	queries := a.queries
	a.queries = nil
	for _, q := range queries {
		q.answer.Data, q.err = a.host.Query(q.request)
		q.answer.Seq, q.answer.Term, q.answer.Member = a.host.Head().Seq(), a.term, a.n.g.cfg.Member
	}
	a.fly(e, &flying{events: done, queries: queries})
}

func stepSize(s *fsm.Step) int {
	n := 64 + len(s.Producer) + len(s.Payload) + len(s.Reason)
	for _, o := range s.Outputs {
		n += 4 + len(o)
	}
	return n
}

// fly proposes an entry and hands it to the acker. Only the loop calls it.
func (a *activation) fly(e *fsm.Entry, fl *flying) {
	a.inflight++
	fl.future = a.n.raft.Apply(e.Marshal(nil), a.n.g.cfg.CommitTimeout)
	a.landed <- fl // has room for all that may be in flight
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

// process has the host process one event. An error means that the host is poisoned.
func (a *activation) process(p *pending) error {
	ev := chain.Event{Producer: p.ev.Producer, Sequence: p.ev.Sequence, Time: a.n.g.now(), Payload: p.ev.Payload}
	var st host.Step
	var err error
	if p.refuse != "" {
		st, err = a.host.Refuse(ev, p.refuse)
	} else {
		st, err = a.host.Deliver(ev)
	}
	if err != nil {
		return err
	}
	p.hash, p.seq, p.time, p.flags, p.reason, p.outs = st.Hash, st.Link.Seq, st.Event.Time, st.Flags, st.Reason, st.Outputs
	return nil
}

// rebuild replaces a poisoned host by one at the committed head.
func (a *activation) rebuild(cause error) {
	var poison *host.PoisonError
	if !errors.As(cause, &poison) {
		a.end(fmt.Errorf("the host failed: %w", cause))
		return
	}
	a.n.log.Error("the daemon failed and is rebuilt from checkpoint and journal", "cause", cause)
	for a.inflight > 0 {
		select {
		case fl := <-a.acks:
			a.acked(fl)
		case <-a.ctx.Done():
			return
		}
	}
	h, _, err := a.n.buildHost(a.ctx, nil)
	if err != nil {
		a.end(fmt.Errorf("the daemon could not be rebuilt: %w", err))
		return
	}
	a.host = h
}

// do runs f on the loop, between events, and waits for it.
func (a *activation) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-a.ctx.Done():
		return &NotActiveError{}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// record proposes an entry that is made on the loop and waits until it is
// accepted. A nil entry from make means that there is nothing to propose.
func (a *activation) record(ctx context.Context, build func() (*fsm.Entry, *chain.Link, error)) (*fsm.Result, error) {
	type outcome struct {
		res *fsm.Result
		err error
	}
	ch := make(chan outcome, 1)
	err := a.do(ctx, func() {
		if a.drained {
			ch <- outcome{nil, &NotActiveError{}} // the head must stay where the switchover released it
			return
		}
		e, link, err := build()
		if err == nil && link != nil {
			if err = a.host.Advance(link); err == nil {
				a.ordinal++
				e.Ordinal = a.ordinal
			}
		}
		if err != nil || e == nil {
			ch <- outcome{nil, err}
			return
		}
		for a.inflight >= a.n.g.cfg.EntriesInFlight && a.ctx.Err() == nil {
			select {
			case fl := <-a.acks:
				a.acked(fl)
			case <-a.ctx.Done():
			}
		}
		a.fly(e, &flying{plain: link == nil, then: func(r *fsm.Result, err error) { ch <- outcome{r, err} }})
	})
	if err != nil {
		return nil, err
	}
	select {
	case o := <-ch:
		return o.res, o.err
	case <-ctx.Done():
		return nil, &UncertainError{Reason: "the caller's deadline passed while the record was being committed"}
	}
}

// abandon answers everything that the loop still holds. Nothing of it was
// proposed, so none of it happened.
func (a *activation) abandon() {
	a.end(errRoleEnd)
	close(a.intake.ended)
	for _, p := range a.backlog {
		p.finish(Result{Err: &NotActiveError{}})
	}
	for {
		select {
		case q := <-a.asks:
			a.queries = append(a.queries, q)
			continue
		default:
		}
		break
	}
	for _, q := range a.queries {
		q.err = &NotActiveError{}
		close(q.done)
	}
	close(a.landed)
	// Events in flight are the acker's; those that repeat one wait here for it.
	for a.inflight > 0 {
		a.acked(<-a.acks)
	}
}
