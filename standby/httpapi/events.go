package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// events takes one event, or a stream of them.
func (a *api) events(c *call) error {
	if _, err := c.params(); err != nil {
		return err
	}
	if t, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); t == wire.NDJSON {
		return a.eventStream(c)
	}
	if err := a.read(c, wire.MaxEventLine(a.cfg.Limits.MaxEventBytes)); err != nil {
		return err
	}
	ev, err := parseEvent(c.body, a.cfg.Limits.MaxEventBytes)
	if err != nil {
		return err
	}
	res := a.deliver(c.r.Context(), c.role, []standby.Event{ev})[0]
	if res.Err != nil {
		return res.Err
	}
	return writeJSON(c.w, http.StatusOK, &res.Receipt)
}

// parseEvent refuses what is not to be shown to the group.
func parseEvent(b []byte, max int) (standby.Event, error) {
	ev, err := wire.ParseEvent(b)
	if err == nil && len(ev.Producer) > chain.MaxProducer {
		return standby.Event{}, wire.Problemf(wire.BadRequest, "give it a shorter name", "the producer's name has %d bytes, at most %d are allowed", len(ev.Producer), chain.MaxProducer)
	}
	if err == nil && len(ev.Payload) > max {
		return standby.Event{}, wire.Problemf(wire.TooLarge, "split the event", "the payload has %d bytes, at most %d are allowed here", len(ev.Payload), max)
	}
	return ev, err
}

func problemLine(err error) []byte {
	b, _ := json.Marshal(wire.ProblemOf(err))
	return append(b, '\n')
}

// eventStream answers a stream of events line by line. What arrives while the
// group commits one batch makes the next: idleness keeps batches small, load
// makes them large. One batch at a time is at the group, which keeps the order.
func (a *api) eventStream(c *call) error {
	s, err := open(a.senders, c.w, wire.NDJSON)
	if err != nil {
		return err
	}
	defer s.close()
	s.rc.EnableFullDuplex() // HTTP/2 is so by itself
	src := newSource(c.r, s.rc, &a.cfg.Limits)
	defer src.close()
	var out []byte
	for {
		lines := src.take()
		if len(lines) == 0 {
			if src.cut {
				panic(http.ErrAbortHandler) // the rest of the body must not pass for the next request
			}
			if !s.begun {
				s.write(nil, true)
			}
			return nil
		}
		evs := make([]standby.Event, 0, len(lines))
		for i := range lines {
			if lines[i].err == nil {
				evs = append(evs, lines[i].ev)
			}
		}
		var res []standby.Result
		if len(evs) > 0 {
			res = a.deliver(c.r.Context(), c.role, evs)
		}
		out = out[:0]
		for i := range lines {
			r := standby.Result{Err: lines[i].err}
			if r.Err == nil {
				r, res = res[0], res[1:]
			} else {
				a.counts.result(&r)
			}
			out = wire.AppendResult(out, &r)
			if len(out) >= maxPiece { // outputs may be a thousand times what their events are
				s.write(out, false) // an error comes again below
				out = out[:0]
			}
		}
		if err := s.write(out, true); err != nil {
			panic(http.ErrAbortHandler) // the reader is gone, or does not read
		}
	}
}

// eventLine is one line of a stream: an event or what is wrong with it.
type eventLine struct {
	ev  standby.Event
	err error
}

// source reads lines ahead, up to one batch.
type source struct {
	rc   *http.ResponseController
	idle time.Duration
	max  int // bytes of a payload

	mu     sync.Mutex
	moved  sync.Cond
	lines  []eventLine
	bytes  int
	gather bool // the whole body is on its way: wait for a full batch or the end
	ended  bool // no more lines come
	cut    bool // the body did not end, it stopped
	closed bool // no more lines are wanted
	done   chan struct{}
}

func newSource(r *http.Request, rc *http.ResponseController, l *Limits) *source {
	s := &source{rc: rc, idle: l.IdleTimeout, max: l.MaxEventBytes, gather: r.ContentLength > 0, done: make(chan struct{})}
	s.moved.L = &s.mu
	go s.read(wire.NewLines(r.Body, wire.MaxEventLine(l.MaxEventBytes)))
	return s
}

func (s *source) read(lines *wire.Lines) {
	defer close(s.done)
	for s.patience() {
		b, _, err := lines.Next()
		var l eventLine
		switch {
		case errors.Is(err, wire.ErrLongLine):
			l.err = &wire.Problem{Code: wire.TooLarge, Text: err.Error(), Remedy: "split the event"}
		case err != nil: // the end, or the connection is gone
			if err == io.EOF {
				s.rc.SetReadDeadline(time.Time{})
			}
			s.mu.Lock()
			s.ended, s.cut = true, err != io.EOF
			s.moved.Broadcast()
			s.mu.Unlock()
			return
		default:
			l.ev, l.err = parseEvent(b, s.max)
		}
		if !s.put(l) {
			return
		}
	}
}

// patience sets the time within which the next line must come; false if no
// more lines are wanted.
func (s *source) patience() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.rc.SetReadDeadline(time.Now().Add(s.idle))
	}
	return !s.closed
}

func (s *source) full() bool { return len(s.lines) >= wire.MaxBatch || s.bytes >= wire.MaxBatchBytes }

func (s *source) put(l eventLine) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.full() && !s.closed {
		s.moved.Wait()
	}
	s.lines = append(s.lines, l)
	s.bytes += len(l.ev.Payload)
	s.moved.Broadcast()
	return !s.closed
}

// take waits for lines and gives all that are there; none at the end.
func (s *source) take() []eventLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && !s.full() && (s.gather || len(s.lines) == 0) {
		s.moved.Wait()
	}
	lines := s.lines
	s.lines, s.bytes = nil, 0
	s.moved.Broadcast()
	return lines
}

// close ends the reading: the body must not be read once the call has returned.
// After the body's end net/http itself reads on, to see whether the caller is
// still there, and would take a deadline for its going.
func (s *source) close() {
	s.mu.Lock()
	s.closed = true
	s.moved.Broadcast()
	if !s.ended {
		// Once the body has ended it is net/http that reads, to see whether the
		// caller goes; it would take this for that, and the calls that follow on
		// the connection would be cancelled from the start.
		s.rc.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	<-s.done
}
