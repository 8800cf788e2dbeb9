package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/understudy-ha/understudy/standby"
)

// Client is a connection to a group. Its methods may be called at the same time.
type Client struct {
	cfg  Config
	http *http.Transport

	mu   sync.Mutex
	good int // the member that answered last

	in      chan *Pending
	closing chan struct{} // Close was called
	giveUp  context.CancelFunc
	done    chan struct{} // the sender has ended
	closes  sync.Once
	wg      sync.WaitGroup // what the sender started
}

// New makes a client. It does not speak to anybody yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg, http: cfg.transport(), in: make(chan *Pending),
		closing: make(chan struct{}), giveUp: cancel, done: make(chan struct{}),
	}
	go c.run(ctx)
	return c, nil
}

// Close waits until every event that was handed over has its outcome, or until
// the context ends: then those without a receipt end as uncertain, or, if they
// were never sent, with an error that says so.
func (c *Client) Close(ctx context.Context) error {
	c.closes.Do(func() { close(c.closing) })
	defer c.http.CloseIdleConnections()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.giveUp()
	<-c.done
	return ctx.Err()
}

// Deliver sends an event and waits for its receipt. When the context ends
// before, the event may or may not happen later: standby.ErrUncertain.
func (c *Client) Deliver(ctx context.Context, payload []byte) (standby.Receipt, error) {
	p, err := c.Send(ctx, payload)
	if err != nil {
		return standby.Receipt{}, err
	}
	return p.Wait(ctx)
}

// Send hands an event over. Events leave in the order of the calls. It waits
// while as many events as are allowed have no receipt; an error means that the
// event was not and will not be sent. The payload is copied: it may be used
// again at once, also after Deliver gave up waiting.
func (c *Client) Send(ctx context.Context, payload []byte) (*Pending, error) {
	p := &Pending{event: standby.Event{Producer: c.cfg.Producer, Payload: bytes.Clone(payload)}, done: make(chan struct{})}
	select {
	case <-c.closing: // first: a closed client takes nothing even if there is room
		return nil, standby.ErrClosed
	default:
	}
	select {
	case c.in <- p:
		return p, nil
	case <-c.closing:
		return nil, standby.ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("the event was not sent: %w", context.Cause(ctx))
	}
}

// Pending is an event on its way.
type Pending struct {
	event   standby.Event
	start   int64 // where its line begins in the current connection's stream
	maybe   bool  // an earlier connection may have carried it
	done    chan struct{}
	receipt standby.Receipt
	err     error
}

// Done is closed once the outcome is known.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait waits for the outcome. If the context ends before, the event stays on
// its way and may still happen; Wait can be called again.
func (p *Pending) Wait(ctx context.Context) (standby.Receipt, error) {
	select {
	case <-p.done:
		return p.receipt, p.err
	default:
	}
	select {
	case <-p.done:
		return p.receipt, p.err
	case <-ctx.Done():
		return standby.Receipt{}, &standby.UncertainError{Reason: context.Cause(ctx).Error(), Remedy: "the client goes on sending it: wait again, or close the client"}
	}
}

func (p *Pending) end(r standby.Receipt, err error) {
	p.receipt, p.err = r, err
	close(p.done)
}
