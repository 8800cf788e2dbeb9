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
	receipts []standby.Receipt
	acked    int
	gap      gap // of the round under way
	err      error
}

// gap is an outage as the producers see it.
type gap struct {
	term  uint64    // of the active before
	last  time.Time // last acknowledgement by it
	first time.Time // first one after
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
	context.AfterFunc(ctx, l.moved.Broadcast)
	start := time.Now()
	for p := range producers {
		sent := make(chan sentEvent, 1024)
		l.wg.Go(func() { l.send(ctx, p, start, sent) })
		l.wg.Go(func() { l.receive(ctx, sent) })
	}
	return l, nil
}

type sentEvent struct {
	line int
	p    *client.Pending
}

// send hands one producer's lines to its client.
func (l *load) send(ctx context.Context, p int, start time.Time, sent chan<- sentEvent) {
	defer close(sent)
	for i := p; i < len(l.cfg.Input); i += producers {
		if !l.permit(ctx, i) {
			return
		}
		if l.cfg.Rate > 0 { // a missed moment is made up for: the offered load does not depend on the answers
			due := start.Add(time.Duration(i) * time.Second / time.Duration(l.cfg.Rate))
			if d := time.Until(due); d > 0 {
				t := time.NewTimer(d)
				select {
				case <-t.C:
				case <-ctx.Done():
					t.Stop()
					return
				}
			}
		}
		pending, err := l.clients[p].Send(ctx, l.cfg.Input[i])
		if err != nil {
			l.fail(err)
			return
		}
		sent <- sentEvent{i, pending}
	}
}

// permit waits until line i may be sent.
func (l *load) permit(ctx context.Context, i int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i >= l.allowed && ctx.Err() == nil {
		l.moved.Wait()
	}
	return ctx.Err() == nil
}

func (l *load) allow(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed = n
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
		if g := &l.gap; g.first.IsZero() {
			if g.term > 0 && (r.Term > g.term || r.Duplicate) {
				g.first = now
			} else {
				g.last = now
			}
		}
		r.OutputData = nil // compared with what the members keep
		l.receipts[s.line] = r
		l.acked++
		l.moved.Broadcast()
		l.mu.Unlock()
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.moved.Broadcast()
}

// until waits for a condition on the load.
func (l *load) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.Patience, fmt.Errorf("not within %v", l.cfg.Patience))
	defer cancel()
	stop := context.AfterFunc(ctx, l.moved.Broadcast)
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	acked := l.acked
	for !ok() && l.err == nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w (%d acknowledged, %d meanwhile)", what, context.Cause(ctx), l.acked, l.acked-acked)
		}
		l.moved.Wait()
	}
	return l.err
}

// finish waits for every receipt, as long as there is progress.
func (l *load) finish(ctx context.Context) error {
	for before := -1; ; {
		err := l.until(ctx, "waiting for the last receipts", func() bool { return l.acked == len(l.cfg.Input) })
		l.mu.Lock()
		acked := l.acked
		l.mu.Unlock()
		if err == nil || acked == before || ctx.Err() != nil {
			return err
		}
		before = acked
	}
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
