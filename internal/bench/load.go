package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// caller delivers one batch after the other and waits for each.
type caller interface {
	call(ctx context.Context, batch [][]byte) error
}

// window is the time that counts: what comes before it warms up.
type window struct{ begin, end time.Time }

func (w window) holds(t time.Time) bool { return !t.Before(w.begin) && t.Before(w.end) }

// tally is what one caller, or all of them, saw within the window.
type tally struct {
	events  uint64
	latency histogram
	unsent  uint64 // events that were due and did not even begin
}

// drainTime is how long the load goes on after the window to send what was due
// within it.
const drainTime = 2 * time.Second

// callTime bounds one call.
const callTime = 30 * time.Second

// drive has every caller send batches of payloads until the window's end. With
// a rate the events are due at fixed moments whatever the answers do, and a
// latency counts from that moment, not from when a caller was free to send:
// a stall shows in every event that it delayed. Without, each caller sends its
// next batch when the one before is answered.
func drive(ctx context.Context, callers []caller, payloads [][]byte, batch int, rate float64, w window) (tally, error) {
	start := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	tallies := make([]tally, len(callers))
	errs := make([]error, len(callers))
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, c := range callers {
		wg.Go(func() {
			t := &tallies[i]
			at := i * 7919 % len(payloads) // so that callers do not all send the same
			events := make([][]byte, batch)
			for ctx.Err() == nil {
				begun := time.Now()
				if rate > 0 {
					n := next.Add(1) - 1
					begun = start.Add(time.Duration(float64(n) * float64(batch) / rate * float64(time.Second)))
				}
				if !begun.Before(w.end) {
					return
				}
				if now := time.Now(); now.After(w.end.Add(drainTime)) {
					if w.holds(begun) {
						t.unsent += uint64(batch)
						t.latency.record(now.Sub(begun), uint64(batch)) // at least so long
					}
					continue
				}
				if !until(ctx, begun) {
					return
				}
				for j := range events {
					events[j] = payloads[at]
					at = (at + 1) % len(payloads)
				}
				try, stop := context.WithTimeout(ctx, callTime)
				err := c.call(try, events)
				stop()
				if err != nil {
					if ctx.Err() == nil {
						errs[i] = fmt.Errorf("caller %d: %w", i+1, err)
						cancel()
					}
					return
				}
				done := time.Now()
				if w.holds(done) {
					t.events += uint64(batch)
				}
				if w.holds(begun) { // whenever it was answered: a stall may outlast the window
					t.latency.record(done.Sub(begun), uint64(batch))
				}
			}
		})
	}
	wg.Wait()
	if outer.Err() != nil { // the window was not seen to its end
		return tally{}, context.Cause(outer)
	}
	var sum tally
	for i := range tallies {
		sum.events += tallies[i].events
		sum.unsent += tallies[i].unsent
		sum.latency.add(&tallies[i].latency)
	}
	err := errors.Join(errs...)
	if err == nil && sum.events == 0 {
		err = errors.New("no event was answered within the measured time: measure longer")
	}
	return sum, err
}

// until waits for a moment; false if the context ends before.
func until(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
