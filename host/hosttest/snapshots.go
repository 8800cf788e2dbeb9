package hosttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/understudy-ha/understudy/host"
)

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
