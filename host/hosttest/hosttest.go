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
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// Run checks the daemon that new makes with the given events, each check as a
// subtest: determinism, snapshot round trip, stateless refusal, rejection,
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
		{"snapshot round trip", (*suite).roundTrip},
		{"snapshot stands still", (*suite).standsStill},
		{"stateless refusal", (*suite).stateless},
		{"rejection", (*suite).rejection},
		{"query", (*suite).query},
		{"damaged snapshot", (*suite).damage},
		{"large state", (*suite).large},
	}
}

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

// state is the daemon's snapshot at a host's position; nil if it has none.
func state(h *host.Host) ([]byte, error) {
	c, err := h.Capture()
	if err != nil {
		return nil, err
	}
	defer c.Release()
	var b bytes.Buffer
	err = c.WriteState(&b)
	return b.Bytes(), err
}

func canonical(d host.Daemon) bool {
	c, ok := d.(host.Canonical)
	return ok && c.CanonicalSnapshot()
}

// cuts are the positions at which snapshots are taken.
func (s *suite) cuts() []int {
	n := len(s.events)
	cuts := []int{0}
	for _, c := range []int{1, n / 4, n / 2, n - 1, n} {
		if c > cuts[len(cuts)-1] {
			cuts = append(cuts, c)
		}
	}
	return cuts
}

func (s *suite) roundTrip() error {
	for _, cut := range s.cuts() {
		h, err := s.start()
		if err != nil {
			return err
		}
		for i := range cut {
			if _, err := s.deliver(h, i); err != nil {
				return err
			}
		}
		if !host.IsStateful(h.Daemon()) {
			// Its whole state is its position: from there it must go on alike.
			tip := h.Tip()
			fresh, err := host.FromPosition(s.new(), s.log, host.Position{Tip: tip, Horizon: h.Horizon().Marshal()}, bytes.NewReader(nil), s.cfg())
			if err != nil {
				return err
			}
			if err := s.rerun(fresh, cut, "the daemon carries state but has neither Snapshot nor Capture: implement host.Stateful or host.Streamer"); err != nil {
				return err
			}
			continue
		}
		snap, err := h.TakeSnapshot()
		if err != nil {
			return fmt.Errorf("the snapshot after %d events failed: %w", cut, err)
		}
		again, err := h.TakeSnapshot()
		if err != nil {
			return fmt.Errorf("a second snapshot after %d events failed: %w", cut, err)
		}
		parsed, err := host.ParseSnapshot(snap.Marshal())
		if err != nil {
			return err
		}
		fresh, err := host.FromSnapshot(s.new(), s.log, parsed, s.cfg())
		if err != nil {
			return fmt.Errorf("the snapshot after %d events does not restore: %w", cut, err)
		}
		third, err := fresh.TakeSnapshot()
		if err != nil {
			return fmt.Errorf("a restored daemon gives no snapshot: %w", err)
		}
		if canonical(h.Daemon()) && (!bytes.Equal(snap.State, again.State) || !bytes.Equal(snap.State, third.State)) {
			return fmt.Errorf("after %d events the same state gave different snapshots: sort what comes from a map, or do not implement host.Canonical", cut)
		}
		if err := s.rerun(fresh, cut, fmt.Sprintf("the snapshot after %d events does not carry all of the daemon's state", cut)); err != nil {
			return err
		}
	}
	return nil
}

// standsStill writes captures only after further events were processed.
func (s *suite) standsStill() error {
	h, err := s.start()
	if err != nil || !host.IsStateful(h.Daemon()) {
		return err
	}
	half := len(s.events) / 2
	for i := range half {
		if _, err := s.deliver(h, i); err != nil {
			return err
		}
	}
	early, err := h.Capture()
	if err != nil {
		return err
	}
	for i := half; i < len(s.events); i++ {
		if _, err := s.deliver(h, i); err != nil {
			return err
		}
	}
	late, err := h.Capture() // while the other is still held
	if err != nil {
		return fmt.Errorf("a second capture while one is held failed: %w", err)
	}
	for _, c := range []struct {
		at int
		c  *host.Capturing
	}{{half, early}, {len(s.events), late}} {
		var b bytes.Buffer
		if err := c.c.WriteState(&b); err != nil {
			return err
		}
		fresh, err := host.FromPosition(s.new(), s.log, c.c.Position, &b, s.cfg())
		if err != nil {
			return fmt.Errorf("a capture written after later events does not restore: %w", err)
		}
		if err := s.rerun(fresh, c.at, "a capture changed with events that came after it: freeze what it writes"); err != nil {
			return err
		}
		c.c.Release()
	}
	if _, err := s.deliver(h, len(s.events)); err != nil {
		return fmt.Errorf("the first event after the captures were released failed: %w", err)
	}
	return nil
}

func (s *suite) stateless() error {
	h, err := s.start()
	if err != nil || host.IsStateful(h.Daemon()) {
		return err
	}
	if _, err := h.TakeSnapshot(); !errors.Is(err, host.ErrStateless) {
		return fmt.Errorf("a daemon without state gave a snapshot: %v", err)
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
	if _, ok := h.Daemon().(host.Queryable); !ok {
		return nil
	}
	for i := range s.events {
		if _, err := h.Query(s.events[i]); err != nil && h.Poisoned() != nil {
			return fmt.Errorf("the query %.60q: %w", s.events[i], err)
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

// damage restores what is not a snapshot. An error is right; a panic is not; a
// state that is accepted must at least be one.
func (s *suite) damage() error {
	h, err := s.start()
	if err != nil || !host.IsStateful(h.Daemon()) {
		return err
	}
	for i := range s.events {
		if _, err := s.deliver(h, i); err != nil {
			return err
		}
	}
	whole, err := state(h)
	if err != nil {
		return err
	}
	for _, bad := range damaged(whole) {
		if err := restore(s.new(), bad); err != nil {
			return err
		}
	}
	return nil
}

func damaged(b []byte) [][]byte {
	out := [][]byte{nil, []byte("x"), bytes.Repeat([]byte{0xff}, 64), append(bytes.Clone(b), 0)}
	for i := range 32 {
		at := i * len(b) / 32
		out = append(out, b[:at])
		if at < len(b) {
			flipped := bytes.Clone(b)
			flipped[at] ^= 1 << (i % 8)
			out = append(out, flipped)
		}
	}
	return out
}

func restore(d host.Daemon, b []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("restoring %d damaged bytes panicked: %v: check every length before you use it", len(b), p)
		}
	}()
	switch d := d.(type) {
	case host.Streamer:
		d.RestoreFrom(io.LimitReader(bytes.NewReader(b), int64(len(b))))
	case host.Stateful:
		d.Restore(b)
	}
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
