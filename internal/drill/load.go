package drill

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// load is the producers. Input line i is an event of producer i modulo their
// number, so that each sends its lines in order.
type load struct {
	cfg     *Config
	clients []*client.Client
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex
	moved    *sync.Cond
	allowed  int // lines that may be sent
	pace     pace
	next     int       // the line after the newest that was sent
	base     time.Time // when the round began
	acks     []int     // acknowledgements in each bucket since then
	receipts []standby.Receipt
	acked    int
	gap      gap // of the round under way
	err      error
}

// pace says when lines are due.
type pace struct {
	from  time.Time
	first int     // the line that is due then
	rate  float64 // lines a second, 0: all at once
}

func (p *pace) due(line int) time.Time {
	if p.rate <= 0 {
		return p.from
	}
	return p.from.Add(time.Duration(float64(line-p.first) / p.rate * float64(time.Second)))
}

func startLoad(ctx context.Context, cfg *Config, urls []string) (*load, error) {
	l := &load{cfg: cfg, receipts: make([]standby.Receipt, len(cfg.Input))}
	l.moved = sync.NewCond(&l.mu)
	for i := range producers {
		c, err := client.New(client.Config{Members: urls, Producer: fmt.Sprintf("drill-%d", i+1), MaxInFlight: 128, StallTimeout: 2 * time.Second})
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, c)
	}
	ctx, l.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, l.wake)
	for p := range producers {
		sent := make(chan sentEvent, 1024)
		l.wg.Go(func() { l.send(ctx, p, sent) })
		l.wg.Go(func() { l.receive(ctx, sent) })
	}
	return l, nil
}

type sentEvent struct {
	line int
	at   time.Time
	p    *client.Pending
}

// send hands one producer's lines to its client.
func (l *load) send(ctx context.Context, p int, sent chan<- sentEvent) {
	defer close(sent)
	for i := p; i < len(l.cfg.Input); i += producers {
		due, ok := l.permit(ctx, i)
		if !ok || sleep(ctx, time.Until(due)) != nil {
			return
		}
		at := time.Now()
		pending, err := l.clients[p].Send(ctx, l.cfg.Input[i])
		if err != nil {
			l.fail(err)
			return
		}
		sent <- sentEvent{i, at, pending}
	}
}

// permit waits until line i may be sent and says when it is due. A missed
// moment is made up for: the offered load does not depend on the answers.
func (l *load) permit(ctx context.Context, i int) (due time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i >= l.allowed && ctx.Err() == nil {
		l.moved.Wait()
	}
	l.next = max(l.next, i+1)
	return l.pace.due(i), ctx.Err() == nil
}

// begin starts a round's time.
func (l *load) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.base, l.acks = time.Now(), nil
}

func (l *load) began() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base
}

// mark begins to look for an outage of the active with a term. It returns how
// many events are acknowledged.
func (l *load) mark(term uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = newGap(term)
	return l.acked
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// allow lets lines up to n be sent, at the user's rate or, if d is not zero,
// evenly over that time. What was allowed before stays allowed.
func (l *load) allow(n int, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = max(n, l.allowed)
	l.allowed = n
	l.pace = pace{from: time.Now(), first: l.next, rate: float64(l.cfg.Rate)}
	if d > 0 {
		l.pace.rate = float64(n-l.next) / d.Seconds()
	}
	l.moved.Broadcast()
}

func (l *load) receive(ctx context.Context, sent <-chan sentEvent) {
	for s := range sent {
		r, err := s.p.Wait(ctx)
		if err != nil {
			l.fail(fmt.Errorf("line %d: %w", s.line+1, err))
			continue
		}
		l.mu.Lock()
		now := time.Now()
		l.gap.take(&r, now, s.at)
		l.picture(now)
		r.OutputData = nil // compared with what the members keep
		l.receipts[s.line] = r
		l.acked++
		l.moved.Broadcast()
		l.mu.Unlock()
	}
}

// maxBuckets bounds a round's picture.
const maxBuckets = 10_000

// picture takes down an acknowledgement.
func (l *load) picture(now time.Time) {
	if i := int(now.Sub(l.base) / bucket); i < maxBuckets {
		for len(l.acks) <= i {
			l.acks = append(l.acks, 0)
		}
		l.acks[i]++
	}
}

// wake has everybody who waits look again: under the lock, or who is about to
// wait sleeps through it.
func (l *load) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved.Broadcast()
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.moved.Broadcast()
}

// until waits for a condition on the load, as long as there is progress.
func (l *load) until(ctx context.Context, what string, ok func() bool) error {
	stop := context.AfterFunc(ctx, l.wake)
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	late := false
	patience := time.AfterFunc(l.cfg.Patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.moved.Broadcast()
	})
	defer patience.Stop()
	acked := l.acked
	for !ok() && l.err == nil {
		if l.acked > acked {
			acked = l.acked
			patience.Reset(l.cfg.Patience)
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case late:
			return fmt.Errorf("%s: none within %v (%d acknowledged)", what, l.cfg.Patience, l.acked)
		}
		l.moved.Wait()
	}
	return l.err
}

func (l *load) stop() {
	l.cancel()
	for _, c := range l.clients {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.Close(ctx)
	}
	l.wg.Wait()
}
