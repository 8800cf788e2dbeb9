package standby

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// errHung: the daemon did not come back in time. The goroutine that called it
// and the host that it owns are left behind.
var errHung = errors.New("the daemon hangs")

// hungError is an errHung; back says when the call has come back after all.
type hungError struct {
	what string
	back <-chan struct{}
}

func (e *hungError) Error() string { return fmt.Sprintf("%v: %s", errHung, e.what) }
func (e *hungError) Unwrap() error { return errHung }

// stallSteps is in how many steps a stall is measured. A step counts once
// however late it ends: in the time for which this process was frozen the daemon
// could do nothing.
const stallSteps = 8

// stillness counts steps in which nothing got on.
type stillness struct {
	seen  uint64 // progress so far
	steps int
}

// over is asked before each step. It says true after as many as make a stall.
func (s *stillness) over(progress uint64) bool {
	if progress != s.seen {
		s.seen, s.steps = progress, 0
	}
	s.steps++
	return s.steps > stallSteps
}

// leash runs calls into a daemon on a goroutine of its own, one at a time, so
// that a daemon that hangs can be left behind with its host while the group
// goes on. Its user waits for each call, so the host changes hands and is never
// shared.
type leash struct {
	stall time.Duration
	jobs  chan func()
	done  chan struct{}
	beats atomic.Uint64 // rises with each step of a job
	timer *time.Timer
}

func newLeash(stall time.Duration) *leash {
	l := &leash{stall: stall, jobs: make(chan func()), done: make(chan struct{}, 1), timer: time.NewTimer(stall)}
	l.timer.Stop()
	go func() {
		for f := range l.jobs {
			f()
			l.done <- struct{}{} // has room: a job that was left behind ends too
		}
	}()
	return l
}

// run has f called and waits for it. After errHung the leash is of no more use
// and nothing that f writes to may be looked at. A job of many steps calls beat
// after each; only a single step can hang.
func (l *leash) run(f func()) error {
	l.jobs <- f
	select {
	case <-l.done:
		return nil
	default:
	}
	defer l.timer.Stop()
	for still := (stillness{seen: l.beats.Load()}); !still.over(l.beats.Load()); {
		l.timer.Reset(l.stall / stallSteps)
		select {
		case <-l.done:
			return nil
		case <-l.timer.C:
		}
	}
	select {
	case <-l.done:
		return nil
	default:
		return &hungError{fmt.Sprintf("no answer within %v", l.stall), l.done}
	}
}

func (l *leash) beat() { l.beats.Add(1) }

// retire ends the goroutine once its job, if it has one, has come back.
func (l *leash) retire() { close(l.jobs) }

// watched runs f, which may never return, for as long as its progress moves.
// What f gives back after it was left behind is dropped.
func watched[T any](ctx context.Context, stall time.Duration, progress func() uint64, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done, back := make(chan result, 1), make(chan struct{})
	go func() {
		defer close(back)
		v, err := f(ctx)
		done <- result{v, err}
	}()
	tick := time.NewTicker(max(stall/stallSteps, time.Millisecond))
	defer tick.Stop()
	for still := (stillness{seen: progress()}); !still.over(progress()); {
		select {
		case r := <-done:
			return r.v, r.err
		case <-tick.C:
		}
	}
	select {
	case r := <-done:
		return r.v, r.err
	default:
		var zero T
		return zero, &hungError{fmt.Sprintf("no progress within %v", stall), back}
	}
}

// maxLeftBehind is how many goroutines that hang in the daemon a process may
// keep. They cannot be ended; a new process can.
const maxLeftBehind = 3

// leftBehind counts what hangs, until it comes back. It ends the member when
// there is too much of it.
func (g *Group) leftBehind(what string, err error) {
	g.log.Error("the daemon hangs and is left behind", "member", g.cfg.Member, "in", what, "err", err)
	g.noteReason(fmt.Errorf("%s: %w", what, err))
	if g.hung.Add(1) > maxLeftBehind {
		g.fail(fmt.Errorf("%s: %w; %d calls before it hang as well and cannot be ended within this process: restart the member", what, err, maxLeftBehind))
	}
	if h := new(hungError); errors.As(err, &h) {
		go func() { <-h.back; g.hung.Add(-1) }()
	}
}
