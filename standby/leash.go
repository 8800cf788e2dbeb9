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
	for seen := l.beats.Load(); ; {
		l.timer.Reset(l.stall)
		select {
		case <-l.done:
			return nil
		case <-l.timer.C:
		}
		now := l.beats.Load()
		if now == seen {
			return fmt.Errorf("%w: no answer within %v", errHung, l.stall)
		}
		seen = now
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
	done := make(chan result, 1)
	go func() {
		v, err := f(ctx)
		done <- result{v, err}
	}()
	tick := time.NewTicker(max(stall/8, time.Millisecond))
	defer tick.Stop()
	seen, since := progress(), time.Now()
	for {
		select {
		case r := <-done:
			return r.v, r.err
		case <-tick.C:
		}
		now := progress()
		if now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) > stall {
			var zero T
			return zero, fmt.Errorf("%w: no progress within %v", errHung, stall)
		}
	}
}

// maxLeftBehind is how many goroutines that hang in the daemon a process may
// keep. They cannot be ended; a new process can.
const maxLeftBehind = 3

// leftBehind counts what hangs. It ends the member when there is too much of it.
func (g *Group) leftBehind(what string, err error) {
	g.log.Error("the daemon hangs and is left behind", "member", g.cfg.Member, "in", what, "err", err)
	g.noteReason(fmt.Errorf("%s: %w", what, err))
	if g.hung.Add(1) > maxLeftBehind {
		g.fail(fmt.Errorf("%s: %w; it hung %d times before and cannot be ended within this process: restart the member", what, err, maxLeftBehind))
	}
}
