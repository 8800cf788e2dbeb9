package client

import (
	"context"
	"errors"
	"fmt"
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
	next    uint64 // the next event's number; 0: the group is to be asked
	proven  bool   // the group took a number from here: no other sender's events are ahead
	hole    uint64 // a number that stays free: its event was refused for good; 0: none
	settled int    // events on the connection, behind the hole, that were refused with it
	limit   int    // the group's limit for a payload; 0: not known
	fatal   error  // no event of this producer can go on
	failed  error  // why the newest try came to nothing; nil once one did not

	st      *stream
	opening chan opened
	again   <-chan time.Time // when to connect next
	wait    backoff
	heard   time.Time   // when a receipt began to be waited for
	quiet   *time.Timer // runs out when it may have been too long
	running bool        // the timer
	doubted chan int    // the member that is active instead, asked for in doubt
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
	s := &sender{c: c, quiet: time.NewTimer(time.Hour)}
	defer s.quiet.Stop()
	defer func() { s.drop(s.unsent()) }()
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
		case <-s.quiet.C:
			s.impatient(ctx)
		case member := <-s.doubted:
			s.doubted = nil
			if s.st != nil && s.sent > 0 && member >= 0 && member != s.st.member {
				s.broken(fmt.Errorf("%w: %s is active, not %s", errMoved, c.cfg.Members[member], c.cfg.Members[s.st.member]))
			}
		case <-closing:
			closing = nil
		case <-ctx.Done():
			return
		}
	}
}

// unsent is why events end without an outcome when the client does.
func (s *sender) unsent() error {
	if s.failed == nil {
		return standby.ErrClosed
	}
	return fmt.Errorf("%w; the last try failed: %w", standby.ErrClosed, s.failed)
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

// patience begins anew with each receipt. The timer is left alone: when it runs
// out it is seen how long it has really been.
func (s *sender) patience() {
	if s.heard = time.Now(); !s.running {
		s.wake(min(doubtAfter, s.c.cfg.StallTimeout))
	}
}

func (s *sender) wake(in time.Duration) {
	s.running = true
	s.quiet.Reset(in)
}

// impatient gives up the connection if there was no receipt for too long, and
// asks the others if there was none for long.
func (s *sender) impatient(ctx context.Context) {
	s.running = false
	if s.st == nil || s.sent == 0 {
		return // patience begins with what is sent next
	}
	been, limit := time.Since(s.heard), s.c.cfg.StallTimeout
	switch {
	case been >= limit:
		s.broken(fmt.Errorf("%s gave no receipt within %v", s.c.cfg.Members[s.st.member], limit))
	case been >= doubtAfter:
		s.ask(ctx)
		s.wake(min(doubtAfter, limit-been))
	default:
		s.wake(min(doubtAfter, limit) - been)
	}
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

// send puts what is not on the connection on it. The first number goes alone:
// events of an earlier client of this name may still be ahead of it. Nothing
// goes behind a hole.
func (s *sender) send() {
	if s.st == nil || s.hole != 0 {
		return
	}
	for s.sent < len(s.waiting) {
		p := s.waiting[s.sent]
		numbered := p.event.Producer != ""
		switch {
		case numbered && !s.proven && s.sent > 0:
			return
		case numbered && p.event.Sequence == 0 && s.limit > 0 && len(p.event.Payload) > s.limit:
			s.remove(s.sent)
			s.end(p, standby.Receipt{}, fmt.Errorf("%w: %d bytes, the group's limit is %d: split it", standby.ErrTooLarge, len(p.event.Payload), s.limit))
			continue
		case numbered && p.event.Sequence == 0:
			p.event.Sequence = s.next
			s.next++
		}
		if s.sent == 0 {
			s.patience()
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
		s.next, s.proven, s.limit = o.session.Last+1, false, o.session.MaxEventBytes
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
	s.failed = err
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
