package standby

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/poison"
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
	writing atomic.Bool // a checkpoint

	// Owned by the loop.
	host     *host.Host
	leash    *leash      // on which the host's daemon is called
	pen      *poison.Pen // notes what the daemon processes
	clock    *clock
	ordinal  uint64 // of the newest proposed entry that made links
	backlog  []*pending
	queries  []*ask
	flights  *flights
	inflight int
	full     time.Time   // since then the journal is, zero: it is not
	drained  bool        // intake is shut for a switchover
	lost     bool        // an entry failed: the host is ahead of what is committed
	steps    *processing // the newest batch's results
	scratch  fsm.Entry
	past     []chain.Handoff // up to this activation's, once they were asked for

	given time.Time // the acker's: until then it waits for a Raft that hangs, zero: the role has not ended
}

// ask is a query on its way.
type ask struct {
	request []byte
	check   bool // nothing is asked: only whether this member is still the active
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
	failed  bool                     // it, or one before it, was not committed
}

func newActivation(n *node, term uint64, h *host.Host) *activation {
	cfg := &n.g.cfg
	a := &activation{
		n: n, term: term, host: h,
		intake: newIntake(cfg.QueueEvents, cfg.QueueBytes),
		calls:  make(chan func()), asks: make(chan *ask, 1024), sealNow: make(chan chan sealed),
		acks: make(chan *flying, cfg.EntriesInFlight+4), landed: make(chan *flying, cfg.EntriesInFlight+4),
		since: time.Now(), leash: newLeash(cfg.StallTimeout), steps: new(processing),
		clock: newClock(n.g.now), pen: n.g.poison.Pen(false),
	}
	a.flights = newFlights(n.machine, a.clock.read)
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
		held := a.held()
		if (len(a.backlog) > 0 && !held || len(a.queries) > 0) && a.inflight < a.n.g.cfg.EntriesInFlight {
			a.poll()
			if a.ctx.Err() == nil { // else flights and host may be gone
				a.propose()
			}
			continue
		}
		in, asks := a.inlets()
		var again <-chan time.Time
		if held && len(a.backlog) > 0 {
			again = time.After(holdStep)
		}
		select {
		case s := <-in:
			a.take(s)
		case q := <-asks:
			a.queries = append(a.queries, q)
		case f := <-a.calls:
			f()
		case fl := <-a.acks:
			a.acked(fl)
		case <-again:
		case <-a.ctx.Done():
		}
	}
}

// While the journal is full events wait for the next checkpoint, which is on
// its way, for holdFor; then they are told that the group is busy.
const (
	holdFor  = 3 * time.Second
	holdStep = 5 * time.Millisecond
)

// held says that no events are taken up now. A drain lets no checkpoint be counted,
// so nothing is waited for in one.
func (a *activation) held() bool {
	if !a.n.journalFull() || a.drained {
		a.full = time.Time{}
		return false
	}
	if a.full.IsZero() {
		a.full = time.Now()
	}
	return time.Since(a.full) < holdFor
}

// poll takes in whatever is there without waiting, up to a full entry: load
// makes entries larger, idleness keeps them small.
func (a *activation) poll() {
	for range 2 * a.n.g.cfg.EntrySteps {
		if a.ctx.Err() != nil {
			return
		}
		in, asks := a.inlets()
		select {
		case s := <-in:
			a.take(s)
		case q := <-asks:
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

// inlets are the queues from which the loop takes more now. In a drain it is none:
// while leadership moves Raft takes no entry, so also a query would end the role.
func (a *activation) inlets() (in chan *submission, asks chan *ask) {
	if a.drained {
		return nil, nil
	}
	if len(a.backlog) < a.n.g.cfg.EntrySteps {
		in = a.intake.ch
	}
	if len(a.queries) < cap(a.asks) {
		asks = a.asks
	}
	return in, asks
}

func (a *activation) take(s *submission) {
	if s.state.Load() == subAbandoned {
		a.intake.release(s)
		return
	}
	for i := range s.events {
		a.backlog = append(a.backlog, &s.events[i])
	}
}

func (a *activation) acked(fl *flying) {
	a.inflight--
	a.lost = a.lost || fl.failed
	a.flights.landed(fl.events)
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

// daemon runs f on the host between events. If the daemon hangs in it the host
// is replaced, and f must not have written to anything that is still used.
func (a *activation) daemon(ctx context.Context, what string, f func(h *host.Host)) error {
	var hung error
	err := a.do(ctx, func() {
		h := a.host
		if hung = a.leash.run(func() { f(h) }); hung != nil {
			a.n.g.leftBehind(what, hung)
			a.rebuild(hung)
		}
	})
	return errors.Join(err, hung)
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
	a.leash.retire()
	a.pen.Close()
	close(a.intake.ended)
	for _, p := range a.backlog {
		p.settle(Result{Err: &NotActiveError{}})
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
