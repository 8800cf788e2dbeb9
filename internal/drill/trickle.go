package drill

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// trickle is the one producer of a drill with a group in use. It keeps no more
// of the receipts than what they must agree with.
type trickle struct {
	name   string
	cfg    *LiveConfig
	client *client.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	moved    *sync.Cond
	paused   bool
	sent     uint64
	acked    int
	rejected int
	newest   standby.Receipt
	outputs  []chain.Output // told by receipts since the last comparison, the first few
	found    Verdict
	gap      gap
	err      error
}

// maxCompared bounds the outputs that are read back in a round.
const maxCompared = 64

func startTrickle(ctx context.Context, cfg *LiveConfig) (*trickle, error) {
	l := &trickle{name: "understudy-drill-" + strings.ToLower(rand.Text()[:12]), cfg: cfg}
	l.moved = sync.NewCond(&l.mu)
	var err error
	if l.client, err = cfg.Client(client.Config{Producer: l.name, StallTimeout: 2 * time.Second}); err != nil {
		return nil, err
	}
	ctx, l.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, l.wake)
	pending := make(chan sentEvent, 1024)
	l.wg.Go(func() { l.send(ctx, pending) })
	l.wg.Go(func() { l.receive(ctx, pending) })
	return l, nil
}

func (l *trickle) send(ctx context.Context, to chan<- sentEvent) {
	defer close(to)
	for i := 0; ; i++ {
		l.mu.Lock()
		for l.paused && ctx.Err() == nil {
			l.moved.Wait()
		}
		l.sent++
		l.mu.Unlock()
		at := time.Now()
		p, err := l.client.Send(ctx, l.cfg.Input[i%len(l.cfg.Input)])
		if err != nil {
			l.fail(err)
			return
		}
		to <- sentEvent{i, at, p}
		if sleep(ctx, time.Until(at.Add(time.Second/time.Duration(l.cfg.Rate)))) != nil {
			return
		}
	}
}

func (l *trickle) receive(ctx context.Context, from <-chan sentEvent) {
	for s := range from {
		r, err := s.p.Wait(ctx)
		if err != nil {
			l.fail(fmt.Errorf("event %d: %w", s.line+1, err))
			continue
		}
		l.mu.Lock()
		l.gap.take(&r, time.Now(), s.at)
		l.check(uint64(s.line)+1, &r)
		l.acked++
		l.moved.Broadcast()
		l.mu.Unlock()
	}
}

// check compares a receipt with the one before it.
func (l *trickle) check(sequence uint64, r *standby.Receipt) {
	v, before := &l.found, &l.newest
	switch {
	case r.Producer != l.name || r.Sequence != sequence:
		v.fault(&v.Lost, "event %d has the receipt of event %d of %.60q", sequence, r.Sequence, r.Producer)
	case r.Seq == before.Seq:
		v.fault(&v.Lost, "events %d and %d have the same place, seq %d", before.Sequence, sequence, r.Seq)
	case r.Seq < before.Seq || r.Term < before.Term:
		v.fault(&v.Lost, "event %d was applied before event %d", sequence, before.Sequence)
	}
	if r.Rejected {
		l.rejected++
	}
	for i, b := range r.OutputData {
		if len(l.outputs) < maxCompared {
			l.outputs = append(l.outputs, chain.Output{Number: r.FirstOutput + uint64(i), Seq: r.Seq, Term: r.Term, Payload: b})
		}
	}
	l.newest = *r
}

// wake has everybody who waits look again, as a load's does.
func (l *trickle) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved.Broadcast()
}

func (l *trickle) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.moved.Broadcast()
}

// until waits for a condition.
func (l *trickle) until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.Patience, fmt.Errorf("waiting for a receipt: none within %v", l.cfg.Patience))
	defer cancel()
	stop := context.AfterFunc(ctx, l.wake)
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !ok() && l.err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.moved.Wait()
	}
	return l.err
}

func (l *trickle) mark(term uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = newGap(term)
	return l.acked
}

func (l *trickle) outage() gap {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gap
}

func (l *trickle) sum() (acked, rejected int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.rejected
}

// pause stops sending and waits for the last receipt. It returns what was found
// since the last time, how many events were sent in all, and outputs to look up.
func (l *trickle) pause(ctx context.Context) (Verdict, uint64, []chain.Output, error) {
	l.mu.Lock()
	l.paused = true
	l.mu.Unlock()
	if err := l.until(ctx, func() bool { return uint64(l.acked) == l.sent }); err != nil {
		return Verdict{}, 0, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v, outs := l.found, l.outputs
	l.found, l.outputs = Verdict{}, nil
	return v, l.sent, outs, nil
}

func (l *trickle) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	l.moved.Broadcast()
}

func (l *trickle) stop() {
	l.cancel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.client.Close(ctx)
	l.wg.Wait()
}
