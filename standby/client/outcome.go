package client

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// ErrNameInUse: another client sends events under the same producer's name.
// The client that finds it out sends nothing more.
var ErrNameInUse = errors.New("another client sends under this producer's name")

// result is the outcome of the oldest event on the connection that has none.
func (s *sender) result(r *standby.Result) {
	if s.settled == s.sent {
		s.broken(errors.New("an outcome of nothing: is that a member of the group?"))
		return
	}
	p := s.waiting[s.settled]
	if r.Err == nil && (r.Receipt.Producer != p.event.Producer || r.Receipt.Sequence != p.event.Sequence) {
		s.broken(fmt.Errorf("the receipt of %q %d for %q %d: is that a member of the group?",
			r.Receipt.Producer, r.Receipt.Sequence, p.event.Producer, p.event.Sequence))
		return
	}
	code := codeOf(r.Err)
	// A number that the group knows already, though it never left from here, is
	// another sender's: so is the receipt.
	foreign := code == wire.NumberTaken || !p.maybe && (r.Receipt.Duplicate || code == wire.OldDuplicate)
	switch {
	case p.event.Producer == "":
		if r.Err != nil && code.Open() {
			r.Err = &standby.UncertainError{Reason: r.Err.Error(), Remedy: "look for the effect before you send it again: the event has no number"}
		}
		s.pop(r)
		s.wait = 0
	case p.maybe && (code == wire.TooLarge || code == wire.BadRequest): // of a copy: another may have been taken before
		s.fatal = fmt.Errorf("number %d was refused for good (%w), and may have been taken before: begin again with a new client", p.event.Sequence, r.Err)
		s.drop(s.fatal)
	case s.hole != 0:
		s.behind(r, code, foreign)
	case foreign:
		s.foreign(p)
	case r.Err == nil, code == wire.OldDuplicate:
		s.pop(r)
		s.wait, s.proven, s.failed = 0, true, nil
	case code == wire.TooLarge, code == wire.BadRequest:
		s.hole = p.event.Sequence
		s.pop(r)
		s.settle()
	case code == wire.SessionExpired, code == wire.Gap, code == wire.Unauthorized:
		s.fatal, s.sent = r.Err, 0 // what follows on this connection is refused alike
		s.drop(r.Err)
	default:
		s.broken(r.Err)
	}
	s.send()
}

func codeOf(err error) wire.Code {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// foreign is called when another sender's event has the number of p, which
// thus did not happen. Before anything else left from here that sender was an
// earlier client of this name: p goes behind its events.
func (s *sender) foreign(p *Pending) {
	if !s.proven {
		p.event.Sequence, p.maybe = 0, false
		s.next, s.sent = 0, 0
		s.broken(errors.New("events of an earlier client of this name come first"))
		return
	}
	s.fatal = fmt.Errorf("%w: number %d of %q", ErrNameInUse, p.event.Sequence, p.event.Producer)
	s.pop(&standby.Result{Err: fmt.Errorf("the event did not happen: %w", s.fatal)})
	s.drop(s.fatal)
}

// behind is the outcome of an event that left with a number after the hole.
func (s *sender) behind(r *standby.Result, code wire.Code, foreign bool) {
	switch code {
	case wire.TooLarge, wire.BadRequest:
		s.pop(r)
	case wire.Gap, wire.NotActive, wire.Busy, wire.Closed:
		s.settled++
	case "", wire.OldDuplicate, wire.NumberTaken: // somebody else filled it
		s.proven = true
		p := s.waiting[s.settled]
		if foreign {
			s.foreign(p)
			return
		}
		s.fatal = fmt.Errorf("%w: number %d of %q", ErrNameInUse, s.hole, p.event.Producer)
		s.pop(r)
		s.drop(s.fatal)
		return
	default:
		s.broken(r.Err)
		return
	}
	s.settle()
}

// settle closes the hole once every event that left with a number after it was
// seen to be refused: those move up. While a copy of one may still be on its
// way nobody may: filling the hole would let the copy in as another event.
func (s *sender) settle() {
	if s.settled < s.sent {
		return
	}
	for _, p := range s.waiting {
		if p.maybe && p.event.Sequence > s.hole {
			s.fatal = fmt.Errorf("number %d was refused for good while later ones were on their way: begin again with a new client", s.hole)
			s.drop(s.fatal)
			return
		}
	}
	s.next = s.hole
	for _, p := range s.waiting {
		if p.event.Sequence != 0 {
			p.event.Sequence = s.next
			s.next++
		}
	}
	s.hole, s.settled, s.sent = 0, 0, 0
}

// ended is called when the connection has ended by itself. A request that was
// refused as a whole did nothing, if its answer says so.
func (s *sender) ended(err error) {
	if !codeOf(err).Open() {
		s.sent, s.settled = 0, 0
	}
	s.broken(err)
}

// errMoved ends a connection whose events go on at once: elsewhere, or with
// other numbers.
var errMoved = errors.New("the events move")

// broken ends the connection. What was on it goes onto the next one; events
// without a number may not, unless they never left.
func (s *sender) broken(err error) {
	sent := s.sent
	s.leave()
	var keep []*Pending
	for _, p := range s.waiting {
		if p.maybe && p.event.Producer == "" {
			s.end(p, standby.Receipt{}, &standby.UncertainError{Reason: err.Error(), Remedy: "look for the effect before you send it again: the event has no number"})
			continue
		}
		keep = append(keep, p)
	}
	s.waiting = keep
	if s.hole != 0 {
		s.settle()
	}
	switch {
	case len(s.waiting) == 0:
	case sent == 0 && errors.Is(err, io.EOF), errors.Is(err, errMoved): // no reason to wait
	default:
		s.later(err)
	}
}

// leave gives the connection up and marks what left on it without an outcome.
func (s *sender) leave() {
	if s.st == nil {
		return
	}
	s.st.cancel()
	left := s.st.feed.end()
	for _, p := range s.waiting[s.settled:s.sent] {
		p.maybe = p.maybe || p.start < left
	}
	s.st, s.sent, s.settled = nil, 0, 0
}

func (s *sender) pop(r *standby.Result) {
	p := s.waiting[s.settled]
	s.remove(s.settled)
	if s.sent--; s.sent > 0 {
		s.patience()
	}
	s.end(p, r.Receipt, r.Err)
}

func (s *sender) remove(i int) {
	if i > 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return
	}
	s.waiting[0] = nil
	s.waiting = s.waiting[1:]
}

func (s *sender) end(p *Pending, r standby.Receipt, err error) {
	s.bytes -= len(p.event.Payload)
	p.end(r, err)
}

// drop ends every event: what may have left is uncertain. Where the next one
// goes on the group is to be asked.
func (s *sender) drop(err error) {
	s.leave()
	for _, p := range s.waiting {
		e := fmt.Errorf("the event did not happen: %w", err)
		if p.maybe {
			e = &standby.UncertainError{Reason: err.Error()}
		}
		s.end(p, standby.Receipt{}, e)
	}
	s.waiting, s.next, s.hole = nil, 0, 0
}
