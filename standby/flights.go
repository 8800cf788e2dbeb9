package standby

import (
	"bytes"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/fsm"
)

// flights is the active's speculative view of the producers: what is proposed
// and not yet committed, on top of what the state machine knows. Owned by the
// active loop.
type flights struct {
	byName    map[string]*flight
	strangers int // flights of producers that the state machine does not know yet
	machine   *fsm.Machine
	now       func() int64
}

// flight is one producer's events between first and last, all in flight.
type flight struct {
	last     uint64
	events   []*pending // numbers last-len+1 … last
	stranger bool
}

func newFlights(m *fsm.Machine, now func() int64) *flights {
	return &flights{byName: make(map[string]*flight), machine: m, now: now}
}

// admit decides what becomes of an event before the daemon sees it. It returns
// true if the event is the producer's next one; otherwise it has answered p, or
// attached it to the event in flight that it repeats.
func (f *flights) admit(p *pending, duplicate func(*pending, fsm.Receipt) Result) bool {
	ev := &p.ev
	if ev.Producer == "" {
		return true
	}
	var last uint64
	var known, crowded bool
	fl := f.byName[ev.Producer]
	if fl != nil {
		last, known = fl.last, true
	} else {
		f.machine.Read(func(s *fsm.State) {
			last, known = s.Session(ev.Producer)
			crowded = !known && s.Crowded(f.now(), f.strangers, f.flies)
		})
	}
	switch {
	case crowded:
		p.settle(Result{Err: &BusyError{time.Minute, "there are as many producers as max_producers allows, all heard of within the hour"}})
	case !known && ev.Sequence == 1, known && ev.Sequence == last+1:
		return true
	case !known:
		p.settle(Result{Err: ErrSessionExpired})
	case ev.Sequence > last:
		p.settle(Result{Err: &GapError{Expected: last + 1}})
	case fl != nil && last-ev.Sequence < uint64(len(fl.events)):
		first := fl.events[uint64(len(fl.events))-1-(last-ev.Sequence)]
		if !bytes.Equal(first.ev.Payload, ev.Payload) {
			p.settle(Result{Err: fmt.Errorf("%w: producer %q number %d", ErrNumberTaken, ev.Producer, ev.Sequence)})
			return false
		}
		first.dups = append(first.dups, p)
	default:
		var r fsm.Receipt
		var ok bool
		f.machine.Read(func(s *fsm.State) { r, ok = s.Receipt(ev.Producer, ev.Sequence) })
		if !ok {
			p.settle(Result{Err: ErrOldDuplicate})
		} else {
			p.settle(duplicate(p, r))
		}
	}
	return false
}

func (f *flights) flies(producer string) bool { return f.byName[producer] != nil }

// add notes that p was processed and is about to be proposed.
func (f *flights) add(p *pending) {
	if p.ev.Producer == "" {
		return
	}
	fl := f.byName[p.ev.Producer]
	if fl == nil {
		fl = &flight{}
		f.machine.Read(func(s *fsm.State) {
			_, known := s.Session(p.ev.Producer)
			fl.stranger = !known
		})
		if fl.stranger {
			f.strangers++
		}
		f.byName[p.ev.Producer] = fl
	}
	fl.last = p.ev.Sequence
	fl.events = append(fl.events, p)
}

// drop takes back events that were processed and will be processed again on a
// rebuilt host, newest first.
func (f *flights) drop(ps []*pending) {
	for i := len(ps) - 1; i >= 0; i-- {
		fl := f.byName[ps[i].ev.Producer]
		if fl == nil {
			continue
		}
		fl.events = fl.events[:len(fl.events)-1]
		fl.last--
		if len(fl.events) == 0 {
			f.introduced(fl)
			delete(f.byName, ps[i].ev.Producer)
		}
	}
}

// landed notes that the events are committed, oldest first, and answers those
// that repeated them.
func (f *flights) landed(ps []*pending) {
	for _, p := range ps {
		for _, d := range p.dups {
			r := p.res
			r.Receipt.Duplicate = r.Err == nil
			d.finish(r)
		}
		p.dups = nil
		fl := f.byName[p.ev.Producer]
		if fl == nil {
			continue
		}
		f.introduced(fl)
		fl.events[0] = nil
		fl.events = fl.events[1:]
		if len(fl.events) == 0 {
			delete(f.byName, p.ev.Producer)
		}
	}
}

// introduced counts a flight no more: the state machine knows its producer, or it
// is over.
func (f *flights) introduced(fl *flight) {
	if fl.stranger {
		fl.stranger = false
		f.strangers--
	}
}
