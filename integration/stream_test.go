package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/drill"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// stream is a load without an end: producers that each send their numbered
// events in order, at their own pace. It forgets what was taken from it.
type stream struct {
	clients []*client.Client
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	moved  *sync.Cond
	paused bool
	sent   int
	got    int    // receipts
	fresh  []sent // with their receipts, not taken yet
	err    error
}

const (
	streams    = 6
	streamPace = 10 * time.Millisecond // between two events of a producer
)

// newStream makes the producers. They wait to be resumed.
func newStream(s *stage, seed uint64) *stream {
	s.t.Helper()
	l := &stream{paused: true}
	l.moved = sync.NewCond(&l.mu)
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(s.ctx)
	context.AfterFunc(ctx, l.moved.Broadcast)
	var urls []string
	for _, m := range s.members {
		urls = append(urls, m.url)
	}
	for i := range streams {
		name := fmt.Sprintf("stream-%d", i)
		c, err := client.New(client.Config{Members: urls, Producer: name, MaxInFlight: 64, StallTimeout: 2 * time.Second})
		require.NoError(s.t, err)
		l.clients = append(l.clients, c)
		l.wg.Go(func() { l.produce(ctx, c, name, drill.MakeInput(s.daemon, 4096, seed+uint64(i))) })
	}
	return l
}

// produce sends the input in a circle.
func (l *stream) produce(ctx context.Context, c *client.Client, name string, input [][]byte) {
	pending := make(chan func(), 128)
	defer close(pending)
	l.wg.Go(func() {
		for wait := range pending {
			wait()
		}
	})
	pace := time.NewTicker(streamPace)
	defer pace.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		if !l.permit(ctx) {
			return
		}
		ev := standby.Event{Producer: name, Sequence: n, Payload: input[int(n-1)%len(input)]}
		p, err := c.Send(ctx, ev.Payload)
		if err != nil {
			l.take(sent{}, err)
			return
		}
		pending <- func() {
			r, err := p.Wait(ctx)
			r.OutputData = nil // compared with what the members keep
			if err != nil {
				err = fmt.Errorf("event %d of %s: %w", n, name, err)
			}
			l.take(sent{ev, r}, err)
		}
	}
}

// permit waits until the load may send, and counts the event.
func (l *stream) permit(ctx context.Context) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.paused && ctx.Err() == nil {
		l.moved.Wait()
	}
	l.sent++
	return ctx.Err() == nil
}

func (l *stream) take(ev sent, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.got++
		l.fresh = append(l.fresh, ev)
	} else if l.err == nil {
		l.err = err
	}
	l.moved.Broadcast()
}

func (l *stream) acked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got
}

func (l *stream) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	l.moved.Broadcast()
}

// until waits for so many receipts in all.
func (l *stream) until(t *testing.T, what string, n int) {
	t.Helper()
	l.await(t, what, func() bool { return l.got >= n })
}

// pause ends the sending and gives all events that were acknowledged since the
// last time, which are then the events that were sent since.
func (l *stream) pause(t *testing.T) []sent {
	t.Helper()
	l.mu.Lock()
	l.paused = true
	l.mu.Unlock()
	l.await(t, "waiting for the last receipt", func() bool { return l.got == l.sent })
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.fresh
	l.fresh = nil
	return all
}

func (l *stream) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.moved.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !ok() && l.err == nil && !late {
		l.moved.Wait()
	}
	require.NoError(t, l.err, what)
	require.True(t, ok(), "%s: not within %v: %d receipts of %d", what, patience, l.got, l.sent)
}

func (l *stream) stop() {
	l.cancel()
	giveUp(l.clients)
	l.wg.Wait()
}
