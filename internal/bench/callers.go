package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// clientCaller hands a batch to the Go client event by event and waits for all
// receipts.
type clientCaller struct {
	c       *client.Client
	pending []*client.Pending
}

func (c *clientCaller) call(ctx context.Context, batch [][]byte) error {
	c.pending = c.pending[:0]
	for _, b := range batch {
		p, err := c.c.Send(ctx, b)
		if err != nil {
			return err
		}
		c.pending = append(c.pending, p)
	}
	for _, p := range c.pending {
		r, err := p.Wait(ctx)
		if err != nil {
			return err
		}
		if r.Rejected || r.Refused {
			return fmt.Errorf("the daemon says no: %s", r.Reason)
		}
	}
	return nil
}

// httpCaller is any program that speaks HTTP: one POST for a batch, and every
// line of the answer looked at.
type httpCaller struct {
	s        *processes
	producer string
	seq      uint64
	body     []byte
}

func (c *httpCaller) call(ctx context.Context, batch [][]byte) error {
	for {
		busy, err := c.post(ctx, batch)
		if busy == nil {
			c.seq += uint64(len(batch))
			return err
		}
		if !until(ctx, time.Now().Add(busy.RetryAfter)) {
			return context.Cause(ctx)
		}
	}
}

func (c *httpCaller) post(ctx context.Context, batch [][]byte) (*standby.BusyError, error) {
	c.body = c.body[:0]
	for i, b := range batch {
		c.body = wire.AppendEvent(c.body, &standby.Event{Producer: c.producer, Sequence: c.seq + uint64(i) + 1, Payload: b})
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.s.active+"/v1/events", bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", wire.NDJSON)
	if len(batch) == 1 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.s.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.s.cfg.Token)
	}
	resp, err := c.s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var results []standby.Result
	lines := wire.NewLines(resp.Body, wire.MaxResultLine)
	for {
		line, _, err := lines.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		r, err := wire.ParseResult(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", resp.Status, err)
		}
		results = append(results, r)
	}
	if len(results) != len(batch) {
		return nil, fmt.Errorf("%d outcomes for %d events", len(results), len(batch))
	}
	return outcome(results)
}
