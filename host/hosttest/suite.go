package hosttest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// suite is a daemon, its events, and what they gave the first time.
type suite struct {
	new    func() host.Daemon
	events [][]byte
	found  *chain.Founding
	log    chain.Keypair
	first  []host.Step
}

func newSuite(new func() host.Daemon, events [][]byte) (*suite, error) {
	if len(events) == 0 {
		return nil, errors.New("hosttest: no events: nothing would be tested")
	}
	log, err := key(1)
	if err != nil {
		return nil, err
	}
	cosign, err := key(2)
	if err != nil {
		return nil, err
	}
	s := &suite{new: new, events: events, log: log, found: &chain.Founding{
		Suite: 1, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), Group: "hosttest", Settings: chain.DefaultSettings(),
		Roster: chain.Roster{Threshold: 1, Members: []chain.RosterMember{{Name: "a", Flags: chain.Voter, LogKey: log.ID(), CosignKey: cosign.ID(), BoxKey: [32]byte{3}}}},
	}}
	h, err := s.start()
	if err != nil {
		return nil, err
	}
	for i := range events {
		st, err := s.deliver(h, i)
		if err != nil {
			return nil, fmt.Errorf("hosttest: event %d %.60q: %w: a daemon answers every event with outputs or an error", i, events[i], err)
		}
		s.first = append(s.first, st)
	}
	return s, nil
}

func key(seed byte) (chain.Keypair, error) {
	return chain.KeypairFromSeed(bytes.Repeat([]byte{seed}, 32))
}

func (s *suite) cfg() host.Config { return host.ConfigFrom(s.found.Settings) }

func (s *suite) start() (*host.Host, error) {
	return host.New(s.new(), s.found, s.log, s.cfg())
}

// event is the i-th event of a run without end.
func (s *suite) event(i int) chain.Event {
	return chain.Event{
		Producer: "hosttest", Sequence: uint64(i + 1), Time: s.found.Time + int64(i)*int64(time.Millisecond),
		Payload: bytes.Clone(s.events[i%len(s.events)]),
	}
}

func (s *suite) deliver(h *host.Host, i int) (host.Step, error) {
	ev := s.event(i)
	st, err := h.Deliver(ev)
	for j := range ev.Payload {
		ev.Payload[j] = 0xdb // a daemon that keeps the event's bytes is found out
	}
	return st, err
}

// rerun delivers events from one position on and compares with the first run.
func (s *suite) rerun(h *host.Host, from int, cause string) error {
	for i := from; i < len(s.events); i++ {
		st, err := s.deliver(h, i)
		if err != nil {
			return fmt.Errorf("event %d %.60q failed the second time: %w", i, s.events[i], err)
		}
		want := s.first[i]
		switch {
		case st.Flags != want.Flags || st.Reason != want.Reason:
			return fmt.Errorf("event %d %.60q was answered %q the first time and %q the second: %s", i, s.events[i], verdict(&want), verdict(&st), cause)
		case !equal(st.Outputs, want.Outputs):
			return fmt.Errorf("event %d %.60q gave outputs %.200q the first time and %.200q the second: %s", i, s.events[i], want.Outputs, st.Outputs, cause)
		case st.Hash != want.Hash:
			return fmt.Errorf("event %d %.60q gave another link: %s", i, s.events[i], cause)
		}
	}
	return nil
}

func verdict(st *host.Step) string {
	if st.Flags&chain.Rejected != 0 {
		return "rejected: " + st.Reason
	}
	return "accepted"
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
