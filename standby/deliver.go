package standby

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
)

// Deliver hands one event to the active and waits until it is committed. On
// another member it fails with [ErrNotActive] and says where to go.
func (g *Group) Deliver(ctx context.Context, ev Event) (Receipt, error) {
	r := g.DeliverBatch(ctx, []Event{ev})[0]
	return r.Receipt, r.Err
}

// DeliverBatch hands events to the active together, in order, and waits until
// each has an outcome. The outcomes are independent of each other. Payloads
// must not be changed until it returns, nor after an uncertain outcome.
func (g *Group) DeliverBatch(ctx context.Context, evs []Event) []Result {
	if len(evs) == 0 {
		return nil
	}
	s := newSubmission(evs)
	a, err := g.activation()
	if err != nil {
		return s.fail(err)
	}
	out := a.intake.submit(ctx, s)
	var doubt error
	if slices.ContainsFunc(out, func(r Result) bool { return missing(r.Err) }) {
		doubt = a.ask(ctx, &ask{check: true, done: make(chan struct{})})
	}
	for i := range out {
		if _, ok := out[i].Err.(*NotActiveError); ok || doubt != nil && missing(out[i].Err) {
			out[i].Err = g.notActive()
		}
	}
	return out
}

// missing says that an outcome rests on what this member does not have. Another
// may have been active for a while and have it: it is told only after something
// was committed in this one's term.
func missing(err error) bool { return errors.Is(err, ErrGap) || errors.Is(err, ErrSessionExpired) }

// Query asks the daemon. On the active the answer reflects every event that
// was acknowledged before the call, and is given only after all that it
// reflects is committed. With stale any member answers from its own committed
// state; Answer.Seq says as of when. A daemon that does not answer within
// StallTimeout counts as one that hangs and is replaced.
func (g *Group) Query(ctx context.Context, request []byte, stale bool) (Answer, error) {
	a, err := g.activation()
	if err != nil && stale {
		return g.queryReplica(ctx, request)
	}
	if err != nil {
		return Answer{}, err
	}
	q := &ask{request: request, done: make(chan struct{})}
	if err := a.ask(ctx, q); err != nil {
		return Answer{}, err
	}
	return q.answer, nil
}

// ask waits until the loop has answered and everything before the answer is
// committed.
func (a *activation) ask(ctx context.Context, q *ask) error {
	g := a.n.g
	select {
	case a.asks <- q:
	case <-a.ctx.Done():
		return g.notActive()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-q.done:
	case <-a.intake.ended:
		select {
		case <-q.done:
		case <-time.After(100 * time.Millisecond): // put in after the loop's last look
			return g.notActive()
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, ok := q.err.(*NotActiveError); ok {
		return g.notActive()
	}
	return q.err
}

func (g *Group) queryReplica(ctx context.Context, request []byte) (Answer, error) {
	n := g.node.Load()
	type reply struct {
		ans Answer
		err error
	}
	back := make(chan reply, 1)
	if err := n.replica.post(ctx, func() {
		ans, err := n.replica.query(request)
		back <- reply{ans, err}
	}); err != nil {
		return Answer{}, err
	}
	select {
	case r := <-back:
		return r.ans, r.err
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

func (g *Group) activation() (*activation, error) {
	if g.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if n := g.node.Load(); n != nil {
		if a := n.active.Load(); a != nil {
			return a, nil
		}
	}
	return nil, g.notActive()
}

func (g *Group) notActive() error {
	name, self := g.Active()
	if self {
		name = "" // promoting, or stepping down
	}
	return &NotActiveError{Active: name}
}

// Active is the member that Raft follows as leader and whether it is this one;
// empty when none is known. It is a hint: only a committed event proves it.
func (g *Group) Active() (member string, self bool) {
	n := g.node.Load()
	if n == nil || n.raft == nil {
		return "", false
	}
	_, id := n.raft.LeaderWithID()
	return string(id), string(id) == g.cfg.Member
}

// Session is the last number that the group has from a producer. Known is
// false for a producer that is new or forgotten. Only the active answers, and
// as for a query only after all that it has heard of is committed: a producer
// that goes on after an older number would use one twice.
func (g *Group) Session(ctx context.Context, producer string) (last uint64, known bool, err error) {
	a, err := g.activation()
	if err != nil {
		return 0, false, err
	}
	if err := a.ask(ctx, &ask{check: true, done: make(chan struct{})}); err != nil {
		return 0, false, err
	}
	a.n.machine.Read(func(s *fsm.State) { last, known = s.Session(producer) })
	return last, known, nil
}

// duplicate makes the original receipt of an event that was sent again. Another
// event under the same number must not pass for it: its sender would take it
// for done.
func (g *Group) duplicate(p *pending, r fsm.Receipt) Result {
	g.archive.reach(r.Seq + 1)
	switch l, err := g.hist.Link(r.Seq); {
	case err != nil:
		return Result{Err: &UncertainError{Reason: fmt.Sprintf("what has this number cannot be compared: the link at seq %d is still being fetched from another member", r.Seq)}}
	case l.Input != chain.EventDigest(p.ev.Producer, p.ev.Sequence, p.ev.Payload):
		return Result{Err: fmt.Errorf("%w: producer %q number %d", ErrNumberTaken, p.ev.Producer, p.ev.Sequence)}
	}
	out := Receipt{
		Producer: p.ev.Producer, Sequence: p.ev.Sequence, Seq: r.Seq, Term: r.Term, Link: r.Hash,
		FirstOutput: r.FirstOutput, Outputs: r.Outputs, Reason: r.Reason, Duplicate: true,
		Rejected: r.Flags&chain.Rejected != 0, Refused: r.Flags&chain.Refused != 0,
	}
	if out.Outputs == 0 {
		out.FirstOutput = 0
	} else if outs, err := g.outs.Peek(out.FirstOutput, int(min(out.Outputs, maxPeerBatch))); err == nil && uint64(len(outs)) == out.Outputs {
		// What is damaged, or would have to be looked for, is not given here: the
		// active loop waits for nobody.
		for i := range outs {
			out.OutputData = append(out.OutputData, outs[i].Payload)
		}
	}
	return Result{Receipt: out}
}

// OutputsNext is the number that the group's next output will have, as far as
// this member knows.
func (g *Group) OutputsNext() uint64 {
	g.archive.catchUp()
	return g.outs.Next()
}

// Outputs yields the group's outputs in order from the given number on (1 is
// the first) and then follows, until ctx ends. They are committed, whoever is
// active, and the same on every member. Outputs older than the retention give
// a [PrunedError] with the oldest number that is kept.
func (g *Group) Outputs(ctx context.Context, from uint64) iter.Seq2[chain.Output, error] {
	return func(yield func(chain.Output, error) bool) {
		next := max(from, 1)
		for {
			changed := g.changed.wait()
			outs, err := g.readOutputs(next, maxPeerBatch)
			if err != nil {
				yield(chain.Output{}, err)
				return
			}
			for i := range outs {
				if !yield(outs[i], nil) {
					return
				}
				next = outs[i].Number + 1
			}
			if len(outs) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(chain.Output{}, context.Cause(ctx))
				return
			case <-g.ctx.Done():
				yield(chain.Output{}, ErrClosed)
				return
			}
		}
	}
}

// ForwardTo is a transport to the API of another member over the peer network.
// The host of a request's URL is the member's name.
func (g *Group) ForwardTo() http.RoundTripper { return g.peers.forward }

// ServePeers sets the handler that other members reach when they forward a
// client's call to this one.
func (g *Group) ServePeers(h http.Handler) { g.api.Store(&h) }

// Founding is the group's founding record, encoded.
func (g *Group) Founding() []byte { return append([]byte(nil), g.founding...) }
