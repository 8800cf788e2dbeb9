package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// sender owns the events that have no outcome yet and the connection that
// carries them.
type sender struct {
	c       *Client
	waiting []*Pending // in order; the first ones are on the connection
	sent    int        // how many are on the connection
	bytes   int
	next    uint64 // the next event's number; 0: the group was not asked yet
	fatal   error  // no event of this producer can go on

	st      *stream
	opening chan opened
	again   <-chan time.Time // when to connect next
	wait    backoff
	stall   *time.Timer // no receipt for too long
	doubt   *time.Timer // no receipt for so long that another member may be active
	doubted chan int    // the member that is
}

// doubtAfter is how long a receipt may take before the other members are asked
// whether one of them is active: a machine that froze answers nothing, not even
// that it is gone.
const doubtAfter = 200 * time.Millisecond

// opened is what connecting came to.
type opened struct {
	member  int
	session wire.Session
	err     error
}

// run is the sender's loop. It ends when the client is closed and nothing is
// left, or when it is told to give up.
func (c *Client) run(ctx context.Context) {
	defer close(c.done)
	defer c.wg.Wait()
	defer c.giveUp()
	s := &sender{c: c, stall: time.NewTimer(time.Hour), doubt: time.NewTimer(time.Hour)}
	defer s.stall.Stop()
	defer s.doubt.Stop()
	defer func() { s.drop(standby.ErrClosed) }()
	closing := c.closing
	for {
		if closing == nil && len(s.waiting) == 0 {
			return
		}
		s.connect(ctx)
		in, results := c.in, chan standby.Result(nil)
		if closing == nil || len(s.waiting) >= c.cfg.MaxInFlight || s.bytes >= c.cfg.MaxInFlightBytes {
			in = nil
		}
		if s.st != nil {
			results = s.st.results
		}
		select {
		case p := <-in:
			s.add(p)
		case r, ok := <-results:
			if !ok {
				s.ended(s.st.err)
			} else {
				s.result(&r)
			}
		case o := <-s.opening:
			s.opening = nil
			s.opened(ctx, o)
		case <-s.again:
			s.again = nil
		case <-s.stall.C:
			if s.st != nil && s.sent > 0 {
				s.broken(fmt.Errorf("%s gave no receipt within %v", c.cfg.Members[s.st.member], c.cfg.StallTimeout))
			}
		case <-s.doubt.C:
			s.ask(ctx)
		case member := <-s.doubted:
			s.doubted = nil
			if s.st != nil && s.sent > 0 && member >= 0 && member != s.st.member {
				s.broken(fmt.Errorf("%w: %s is active, not %s", errMoved, c.cfg.Members[member], c.cfg.Members[s.st.member]))
			} else {
				s.doubt.Reset(doubtAfter)
			}
		case <-closing:
			closing = nil
		case <-ctx.Done():
			return
		}
	}
}

// ask finds out whether another member is active.
func (s *sender) ask(ctx context.Context) {
	if s.st == nil || s.sent == 0 || s.doubted != nil || len(s.c.cfg.Members) == 1 {
		return
	}
	ch := make(chan int, 1)
	s.doubted = ch
	s.c.wg.Go(func() {
		member, active, _ := s.c.locate(ctx)
		if !active {
			member = -1
		}
		ch <- member
	})
}

// patience begins anew with each receipt.
func (s *sender) patience() {
	s.stall.Reset(s.c.cfg.StallTimeout)
	s.doubt.Reset(doubtAfter)
}

// add takes an event in.
func (s *sender) add(p *Pending) {
	if s.fatal != nil {
		p.end(standby.Receipt{}, s.fatal)
		return
	}
	s.waiting = append(s.waiting, p)
	s.bytes += len(p.event.Payload)
	s.send()
}

// send puts what is not on the connection on it.
func (s *sender) send() {
	if s.st == nil {
		return
	}
	if s.sent == 0 && len(s.waiting) > 0 {
		s.patience()
	}
	for _, p := range s.waiting[s.sent:] {
		if p.event.Producer != "" && p.event.Sequence == 0 {
			p.event.Sequence = s.next
			s.next++
		}
		p.start = s.st.feed.put(&p.event)
		s.sent++
	}
}

// connect begins to connect if there is something to send and nothing under way.
func (s *sender) connect(ctx context.Context) {
	if len(s.waiting) == 0 || s.st != nil || s.opening != nil || s.again != nil {
		return
	}
	ch := make(chan opened, 1)
	s.opening = ch
	ask := s.c.cfg.Producer != "" && s.next == 0
	s.c.wg.Go(func() {
		var o opened
		if o.member, _, o.err = s.c.locate(ctx); o.err == nil && o.member < 0 {
			o.err = &standby.NotActiveError{}
		}
		if o.err == nil && ask {
			o.session, o.err = s.c.session(ctx, o.member, s.c.cfg.Producer)
		}
		ch <- o
	})
}

func (s *sender) opened(ctx context.Context, o opened) {
	if o.err != nil {
		s.later(o.err)
		return
	}
	if s.next == 0 {
		s.next = o.session.Last + 1
	}
	s.st = s.c.openStream(ctx, o.member)
	s.send()
}

// later sees to another try, or gives up if no try can help.
func (s *sender) later(err error) {
	if final(err) {
		s.drop(err)
		return
	}
	d := s.wait.next()
	var busy *standby.BusyError
	if errors.As(err, &busy) {
		d = max(d, busy.RetryAfter)
	}
	s.c.cfg.Logger.Debug("events wait for another try", "events", len(s.waiting), "wait", d, "err", err)
	s.again = time.After(d)
}

// final errors stay however often one tries.
func final(err error) bool {
	var p *wire.Problem
	if !errors.As(err, &p) {
		return false
	}
	switch p.Code {
	case wire.Unauthorized, wire.NotFound, wire.BadRequest:
		return true
	}
	return false
}

// ended is called when the connection has ended by itself. A request that was
// refused as a whole did nothing.
func (s *sender) ended(err error) {
	var refused *wire.Problem
	if errors.As(err, &refused) {
		s.sent = 0
	}
	s.broken(err)
}

// errMoved ends a connection whose events go on at once: elsewhere, or with
// other numbers.
var errMoved = errors.New("the events move")

// broken ends the connection. What was on it goes onto the next one; events
// without a number may not, unless they never left.
func (s *sender) broken(err error) {
	st, sent := s.st, s.sent
	s.st, s.sent = nil, 0
	st.cancel()
	left := st.feed.left()
	st.feed.Close()
	var keep []*Pending
	for i, p := range s.waiting {
		p.maybe = p.maybe || i < sent && p.start < left
		if p.maybe && p.event.Producer == "" {
			s.end(p, standby.Receipt{}, &standby.UncertainError{Reason: err.Error(), Remedy: "look for the effect before you send it again: the event has no number"})
			continue
		}
		keep = append(keep, p)
	}
	s.waiting = keep
	switch {
	case len(s.waiting) == 0:
	case sent == 0 && errors.Is(err, io.EOF), errors.Is(err, errMoved): // no reason to wait
	default:
		s.later(err)
	}
}

// result is the outcome of the oldest event on the connection.
func (s *sender) result(r *standby.Result) {
	if s.sent == 0 {
		s.broken(errors.New("an outcome of nothing: is that a member of the group?"))
		return
	}
	p := s.waiting[0]
	if r.Err == nil && (r.Receipt.Producer != p.event.Producer || r.Receipt.Sequence != p.event.Sequence) {
		s.broken(fmt.Errorf("the receipt of %q %d for %q %d: is that a member of the group?",
			r.Receipt.Producer, r.Receipt.Sequence, p.event.Producer, p.event.Sequence))
		return
	}
	var problem *wire.Problem
	errors.As(r.Err, &problem)
	switch {
	case r.Err == nil, problem != nil && problem.Code == wire.OldDuplicate, p.event.Producer == "":
		s.pop(r)
		s.wait = 0
	case problem != nil && (problem.Code == wire.TooLarge || problem.Code == wire.BadRequest):
		// The event will never be taken, and none after it was: they move up.
		s.pop(r)
		for _, q := range s.waiting {
			if q.event.Sequence != 0 {
				q.event.Sequence--
			}
		}
		s.next--
		s.broken(errMoved)
	case problem != nil && (problem.Code == wire.SessionExpired || problem.Code == wire.Gap || problem.Code == wire.Unauthorized):
		s.fatal, s.sent = r.Err, 0 // what follows on this connection is refused alike
		s.drop(r.Err)
	default:
		s.broken(r.Err)
	}
}

func (s *sender) pop(r *standby.Result) {
	p := s.waiting[0]
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
	s.sent--
	if s.sent > 0 {
		s.patience()
	}
	s.end(p, r.Receipt, r.Err)
}

func (s *sender) end(p *Pending, r standby.Receipt, err error) {
	s.bytes -= len(p.event.Payload)
	p.end(r, err)
}

// drop ends every event: what may have left is uncertain.
func (s *sender) drop(err error) {
	if s.st != nil {
		left := s.st.feed.left()
		for i, p := range s.waiting {
			p.maybe = p.maybe || i < s.sent && p.start < left
		}
		s.st.cancel()
		s.st.feed.Close()
		s.st, s.sent = nil, 0
	}
	for _, p := range s.waiting {
		e := fmt.Errorf("the event did not happen: %w", err)
		if p.maybe {
			e = &standby.UncertainError{Reason: err.Error()}
		}
		s.end(p, standby.Receipt{}, e)
	}
	s.waiting = nil
}
