package integration

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/drill"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// sent is an event and, once there is one, its receipt.
type sent struct {
	event   standby.Event
	receipt standby.Receipt
}

// load is four producers that share the events, each sending its own in order and
// resending what is uncertain.
type load struct {
	s       *stage
	events  []sent
	clients []*client.Client
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	moved   chan struct{} // closed at each change
	allowed int
	acked   int
	err     error
}

const producers = 4

func newLoad(s *stage, p *plan) *load {
	s.t.Helper()
	l := &load{s: s, moved: make(chan struct{})}
	input := p.input
	if input == nil {
		input = drill.MakeInput(s.daemon, p.events, 1)
	}
	for i, payload := range input {
		l.events = append(l.events, sent{event: event(fmt.Sprintf("load-%d", i%producers), uint64(i/producers)+1, string(payload))})
	}
	ctx, cancel := context.WithCancel(s.ctx)
	l.cancel = cancel
	var urls []string
	for _, m := range s.members {
		urls = append(urls, m.url)
	}
	for p := range producers {
		c, err := client.New(client.Config{Members: urls, Producer: fmt.Sprintf("load-%d", p), MaxInFlight: 64, StallTimeout: 2 * time.Second})
		require.NoError(s.t, err)
		l.clients = append(l.clients, c)
		l.wg.Go(func() { l.produce(ctx, p, c) })
	}
	return l
}

func (l *load) produce(ctx context.Context, p int, c *client.Client) {
	for i := p; i < len(l.events); i += producers {
		if !l.until(ctx, func() bool { return i < l.allowed }) {
			return
		}
		pending, err := c.Send(ctx, l.events[i].event.Payload)
		if err != nil {
			l.change(func() { l.err = err })
			return
		}
		l.wg.Go(func() {
			r, err := pending.Wait(ctx)
			l.change(func() {
				if err != nil {
					l.err = fmt.Errorf("event %d: %w", i, err)
					return
				}
				l.acked++
				l.events[i].receipt = r
			})
		})
	}
}

func (l *load) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.moved)
	l.moved = make(chan struct{})
}

// until waits for a condition on the load.
func (l *load) until(ctx context.Context, ok func() bool) bool {
	for {
		l.mu.Lock()
		yes, moved := ok(), l.moved
		l.mu.Unlock()
		if yes {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// giveUp closes clients without waiting for what is on its way.
func giveUp(clients []*client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range clients {
		c.Close(ctx)
	}
}

func (l *load) stop() {
	l.cancel()
	giveUp(l.clients)
	l.wg.Wait()
}

// acked is how many events have their receipt.
func (s *stage) acked() int {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	return s.load.acked
}

// allow lets n more events be sent than have their receipt by now.
func (s *stage) allow(n int) {
	s.load.change(func() { s.load.allowed = max(s.load.allowed, min(s.load.acked+n, len(s.load.events))) })
}

// untilAcked waits until n events have their receipt.
func (s *stage) untilAcked(n int) {
	s.t.Helper()
	l := s.load
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	l.until(ctx, func() bool { return l.acked >= n || l.err != nil })
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NoError(s.t, l.err)
	require.GreaterOrEqualf(s.t, l.acked, n, "not so many receipts within %v", patience)
}

// serves sees n more events acknowledged, of those there are.
func (s *stage) serves(n int) {
	s.t.Helper()
	acked := s.acked()
	s.allow(2 * n)
	s.untilAcked(min(acked+n, len(s.load.events)))
}

// quiet waits until all that may be sent has its receipt.
func (s *stage) quiet() {
	s.t.Helper()
	s.load.mu.Lock()
	allowed := s.load.allowed
	s.load.mu.Unlock()
	s.untilAcked(allowed)
}

// busy lets n more events be sent and waits until a part of them has its
// receipt, so that what follows hits a group at work.
func (s *stage) busy(n int) {
	s.t.Helper()
	acked := s.acked()
	s.allow(n)
	s.untilAcked(min(acked+n/4, len(s.load.events)))
}
