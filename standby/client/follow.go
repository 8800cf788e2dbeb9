package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// quiet is how long a stream may be silent: members send an empty line every
// few seconds.
const quiet = 20 * time.Second

// Outputs gives the outputs from a number on, in order and each once, and goes
// on as they come, across failovers, until the context ends. Without follow it
// ends with those that the member has now. A *standby.PrunedError tells that
// no member has the next one any more.
func (c *Client) Outputs(ctx context.Context, from uint64, follow bool) iter.Seq2[chain.Output, error] {
	return func(yield func(chain.Output, error) bool) {
		next := max(from, 1)
		stopped := false
		path := func() string {
			p := fmt.Sprintf("/v1/outputs?from=%d", next)
			if follow {
				p += "&follow=1"
			}
			return p
		}
		err := c.follow(ctx, path, follow, func(line []byte) error {
			var v struct {
				chain.Output
				wire.Problem
			}
			if err := json.Unmarshal(line, &v); err != nil {
				return err
			}
			if v.Problem.Code != "" {
				return &v.Problem
			}
			if v.Number != next {
				return fmt.Errorf("output %d where %d is due", v.Number, next)
			}
			next++
			if !yield(v.Output, nil) {
				stopped = true
				return errStopped
			}
			return nil
		})
		if err != nil && !stopped {
			yield(chain.Output{}, err)
		}
	}
}

// Watch gives the status now and after each change until the context ends.
func (c *Client) Watch(ctx context.Context) iter.Seq2[standby.Status, error] {
	return func(yield func(standby.Status, error) bool) {
		stopped := false
		err := c.follow(ctx, func() string { return "/v1/watch" }, true, func(line []byte) error {
			var st standby.Status
			if err := json.Unmarshal(line, &st); err != nil {
				return err
			}
			if !yield(st, nil) {
				stopped = true
				return errStopped
			}
			return nil
		})
		if err != nil && !stopped {
			yield(standby.Status{}, err)
		}
	}
}

var errStopped = errors.New("the reader has enough")

// follow reads a stream of lines from one member after the other. Without
// endless, the end of a stream is the end.
func (c *Client) follow(ctx context.Context, path func() string, endless bool, line func([]byte) error) error {
	var wait backoff
	pruned := make(map[int]*standby.PrunedError) // what members said that have it no more
	for turn := 0; ; turn++ {
		member := (c.first() + turn) % len(c.cfg.Members)
		lines := 0
		err := c.lines(ctx, member, path(), func(b []byte) error {
			lines++
			return line(b)
		})
		if lines > 1 {
			wait = 0
			clear(pruned)
		}
		var p *wire.Problem
		var gone *standby.PrunedError
		switch {
		case errors.Is(err, errStopped):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && !endless:
			c.prefer(member)
			return nil
		case errors.As(err, &gone): // another member may keep more
			if pruned[member] = gone; len(pruned) == len(c.cfg.Members) {
				return slices.MinFunc(slices.Collect(maps.Values(pruned)), func(a, b *standby.PrunedError) int { return cmp.Compare(a.Oldest, b.Oldest) })
			}
		case errors.As(err, &p) && !retriable(err) && !p.Code.Open():
			return err
		}
		c.cfg.Logger.Debug("a stream has ended", "member", c.cfg.Members[member], "err", err)
		if err := pause(ctx, wait.next()); err != nil {
			return context.Cause(ctx)
		}
	}
}

// lines reads one stream to its end.
func (c *Client) lines(ctx context.Context, member int, path string, line func([]byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(quiet, func() { cancel(errors.New("the member fell silent")) })
	defer silence.Stop()
	req, err := c.request(ctx, http.MethodGet, member, path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problemOf(resp)
	}
	lines := wire.NewLines(&alive{resp.Body, silence}, wire.MaxResultLine)
	for {
		b, whole, err := lines.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case !whole:
			return io.ErrUnexpectedEOF
		}
		if err := line(b); err != nil {
			return err
		}
	}
}

// alive puts a stream's time-out off whenever something comes.
type alive struct {
	r       io.Reader
	silence *time.Timer
}

func (a *alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.silence.Reset(quiet)
	}
	return n, err
}
