// Package hosttest finds out whether a daemon keeps the promises that a
// failover rests on. Three lines in the daemon's own tests:
//
//	func TestConformance(t *testing.T) {
//		hosttest.Run(t, func() host.Daemon { return mydaemon.New() }, events)
//	}
//
// The events should use all that the daemon can do, and some should be
// rejected. Each check says what is promised, what it saw, and what usually
// is the cause.
//
// The suite needs no group, no disk and no network. It finds what shows within
// one process and these events. A daemon whose outputs depend on the machine,
// the version of a library or the day passes here and is found by the group's
// verified sync.
package hosttest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// Run checks the daemon that new makes with the given events, each check as a
// subtest: determinism, what becomes of events and outputs, snapshot round trip, stateless refusal, rejection,
// queries, damaged snapshots, large state.
func Run(t *testing.T, new func() host.Daemon, events [][]byte) {
	t.Helper()
	s, err := newSuite(new, events)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(s); err != nil {
				t.Error(err)
			}
		})
	}
}

type check struct {
	name string
	run  func(*suite) error
}

func checks() []check {
	return []check{
		{"determinism", (*suite).determinism},
		{"event and outputs", (*suite).handedOver},
		{"snapshot round trip", (*suite).roundTrip},
		{"snapshot stands still", (*suite).standsStill},
		{"stateless refusal", (*suite).stateless},
		{"rejection", (*suite).rejection},
		{"query", (*suite).query},
		{"damaged snapshot", (*suite).damage},
		{"large state", (*suite).large},
	}
}

// runs is how often what depends on chance (map order) gets its chance.
const runs = 8

func (s *suite) determinism() error {
	for range runs {
		h, err := s.start()
		if err != nil {
			return err
		}
		if err := s.rerun(h, 0, "the daemon depends on something else than its state and the event: the clock, chance, the order of a map, an address, bytes of an event that it kept"); err != nil {
			return err
		}
	}
	return nil
}

// handedOver sees that the daemon leaves the event's bytes alone, and its outputs
// once it has returned them: both are still on their way to the other members.
func (s *suite) handedOver() error {
	h, err := s.start()
	if err != nil {
		return err
	}
	var outs, copies [][]byte
	for i := range s.events {
		ev := s.event(i)
		before := bytes.Clone(ev.Payload)
		st, err := h.Deliver(ev)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, ev.Payload) {
			return fmt.Errorf("event %d %.60q is %.60q after Process: it must not be changed", i, before, ev.Payload)
		}
		for _, o := range st.Outputs {
			outs, copies = append(outs, o), append(copies, bytes.Clone(o))
		}
	}
	for i := range outs {
		if !bytes.Equal(outs[i], copies[i]) {
			return fmt.Errorf("output %.60q became %.60q while further events were processed: return new bytes for each output, not a buffer that is used again", copies[i], outs[i])
		}
	}
	return nil
}

// rejection compares the state before and after each rejected event.
func (s *suite) rejection() error {
	h, err := s.start()
	if err != nil || !canonical(h.Daemon()) {
		return err
	}
	for i := range s.events {
		if s.first[i].Flags&chain.Rejected == 0 {
			if _, err := s.deliver(h, i); err != nil {
				return err
			}
			continue
		}
		before, err := state(h)
		if err != nil {
			return err
		}
		if _, err := s.deliver(h, i); err != nil {
			return err
		}
		after, err := state(h)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, after) {
			return fmt.Errorf("event %d %.60q was rejected (%s) and changed the state all the same: check everything before the first change", i, s.events[i], s.first[i].Reason)
		}
	}
	return nil
}

// query asks what the events say, which a daemon may refuse, but not by a
// panic, and not by changing.
func (s *suite) query() error {
	h, err := s.start()
	if err != nil {
		return err
	}
	q, ok := h.Daemon().(host.Queryable)
	if !ok {
		return nil
	}
	for i := range s.events {
		if err := ask(q, s.events[i]); err != nil {
			return err
		}
		st, err := s.deliver(h, i)
		if err != nil {
			return err
		}
		if st.Hash != s.first[i].Hash {
			return fmt.Errorf("event %d %.60q came out differently after queries: a query must not change the state", i, s.events[i])
		}
	}
	return nil
}

// ask does without the host, which takes a panic for an answer like any other.
func ask(q host.Queryable, request []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the query %.60q panicked: %v: answer with an error", request, p)
		}
	}()
	q.Query(request)
	return nil
}

// manyEvents is how far the events are repeated to make a large state.
const manyEvents = 20_000

func (s *suite) large() error {
	h, err := s.start()
	if err != nil || !host.IsStateful(h.Daemon()) {
		return err
	}
	for i := range manyEvents {
		if _, err := s.deliver(h, i); err != nil {
			return fmt.Errorf("event %d of a long run: %w", i, err)
		}
	}
	snap, err := h.TakeSnapshot()
	if err != nil {
		return err
	}
	fresh, err := host.FromSnapshot(s.new(), s.log, snap, s.cfg())
	if err != nil {
		return fmt.Errorf("the snapshot of %d bytes after a long run does not restore: %w", len(snap.State), err)
	}
	for i := range len(s.events) {
		a, errA := s.deliver(h, manyEvents+i)
		b, errB := s.deliver(fresh, manyEvents+i)
		if errA != nil || errB != nil || a.Hash != b.Hash {
			return fmt.Errorf("after a long run and a restore, event %.60q came out differently (%v, %v)", s.events[i%len(s.events)], errA, errB)
		}
	}
	return nil
}
