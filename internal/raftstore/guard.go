package raftstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options says what the stores are, how patient, and whom they tell.
type Options struct {
	Store        Kind  // what keeps the log and the votes; default [Default]
	SegmentBytes int64 // of the file store; its own default
	Logger       *slog.Logger
	WarnAfter    time.Duration  // a call that takes longer is logged; default 1 s
	FatalAfter   time.Duration  // … is a failure; default 10 s
	Gate         func() error   // before each write, if not nil; may take its time
	OnFatal      func(error)    // called once, from any goroutine; the process should end
	Syncs        *atomic.Uint64 // counts the fsyncs of log and votes; may be nil
	Written      *atomic.Uint64 // counts the bytes of the file store and of snapshots; may be nil
}

// ErrFailed: an earlier write failed and nothing is written any more.
var ErrFailed = errors.New("the raft store has failed; restart the process")

// ErrDamaged: bytes on disk are not those that were written.
var ErrDamaged = errors.New("damaged raft store")

// DamageError says what is damaged. The member must not take part in the group
// with this disk.
type DamageError struct{ File, What string }

func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: %s: %s: this member must not vote with this disk; restore it whole, or wipe it and rejoin the member", ErrDamaged, e.File, e.What)
}

// Is makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// guard runs writes one by one as far as it is concerned: it notes how long
// they take and stops everything at the first that fails.
type guard struct {
	o       Options
	mu      sync.Mutex
	failed  error
	running map[int]time.Time // from when on they are late
	next    int
	done    chan struct{}
	wg      sync.WaitGroup
	syncs   uint64 // fsyncs that one write makes
}

func newGuard(o Options) *guard {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.WarnAfter == 0 {
		o.WarnAfter = time.Second
	}
	if o.FatalAfter == 0 {
		o.FatalAfter = 10 * time.Second
	}
	if o.Written == nil {
		o.Written = new(atomic.Uint64)
	}
	if o.Gate == nil {
		o.Gate = func() error { return nil }
	}
	g := &guard{o: o, running: make(map[int]time.Time), done: make(chan struct{})}
	g.wg.Add(1)
	go g.watch()
	return g
}

func (g *guard) close() {
	close(g.done)
	g.wg.Wait()
}

// watch touches no I/O, so a stalled disk cannot stall it. It ends with the first
// failure, after which nothing is written; who hangs in a write may never close.
func (g *guard) watch() {
	defer g.wg.Done()
	tick := time.NewTicker(g.o.WarnAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-g.done:
			return
		case <-tick.C:
		}
		if d := g.stalled(); d > g.o.FatalAfter {
			g.fail(fmt.Errorf("a write has not returned for %v", d.Round(time.Millisecond)))
			return
		} else if d > g.o.WarnAfter {
			g.o.Logger.Warn("the raft store is slow", "for", d)
		}
	}
}

// stalled is the age of the oldest write that has not returned.
func (g *guard) stalled() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	var d time.Duration
	for _, t := range g.running {
		d = max(d, time.Since(t))
	}
	return d
}

func (g *guard) fail(err error) {
	g.mu.Lock()
	first := g.failed == nil
	if first {
		g.failed = err
	}
	g.mu.Unlock()
	if first && g.o.OnFatal != nil {
		g.o.OnFatal(err)
	}
}

// write runs one write, which should take no time.
func (g *guard) write(what string, f func() error) error { return g.slow(what, 0, f) }

// slow runs a write that may take that long before it counts as stalled.
func (g *guard) slow(what string, patience time.Duration, f func() error) error {
	g.mu.Lock()
	if g.failed != nil {
		g.mu.Unlock()
		return fmt.Errorf("%s: %w: %w", what, ErrFailed, g.failed)
	}
	id := g.next
	g.next++
	g.running[id] = time.Now().Add(patience)
	g.mu.Unlock()
	err := g.o.Gate()
	if err == nil {
		err = f()
	}
	g.mu.Lock()
	delete(g.running, id)
	g.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
		g.fail(err)
	} else if g.o.Syncs != nil {
		g.o.Syncs.Add(g.syncs)
	}
	return err
}

// read passes on what a read found; damage found while running ends it all too.
func (g *guard) read(err error) error {
	if errors.Is(err, ErrDamaged) {
		g.fail(err)
	}
	return err
}
