package client

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// backoff grows from try to try.
type backoff time.Duration

const (
	firstWait = 5 * time.Millisecond
	maxWait   = 250 * time.Millisecond
)

func (b *backoff) next() time.Duration {
	d := max(time.Duration(*b), firstWait)
	*b = backoff(min(2*d, maxWait))
	return d
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// probe is what a member says of itself.
type probe struct {
	member   int
	active   bool
	forwards bool // it knows another active
	err      error
}

// grace is how long a member that says to be active is waited for when
// another one that can forward has answered.
const grace = 100 * time.Millisecond

// told is how long a member that knows no active may take to hear of one: so a
// takeover is told by the members when it happens, and not found by asking
// again and again.
const told = time.Second

// locate asks all members at once which one is active, and prefers it; a member
// that can reach it is the second choice. One round. The member is -1 if none
// of them knows an active.
func (c *Client) locate(ctx context.Context) (member int, active bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answers := make(chan probe, len(c.cfg.Members))
	for i := range c.cfg.Members {
		go func() { answers <- c.probe(ctx, i) }()
	}
	second := -1
	var late <-chan time.Time
	for range c.cfg.Members {
		select {
		case p := <-answers:
			switch {
			case p.err != nil:
				err = p.err
			case p.active:
				c.prefer(p.member)
				return p.member, true, nil
			case p.forwards && second < 0:
				second, late = p.member, time.After(grace)
			}
			continue
		case <-late:
		}
		break
	}
	if second >= 0 {
		c.prefer(second)
		return second, false, nil
	}
	return -1, false, err
}

func (c *Client) probe(ctx context.Context, member int) probe {
	p := probe{member: member}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.Members[member]+"/active?wait="+told.String(), nil)
	if err != nil {
		p.err = err
		return p
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		p.err = err
		return p
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
	p.active = resp.StatusCode == http.StatusOK
	active := resp.Header.Get(wire.HeaderActive)
	p.forwards = active != "" && active != resp.Header.Get(wire.HeaderVia)
	return p
}

func (c *Client) prefer(member int) {
	c.mu.Lock()
	c.good = member
	c.mu.Unlock()
}

// first is the member to ask first.
func (c *Client) first() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good
}
