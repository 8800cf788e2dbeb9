package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// maxAnswer bounds what is passed on from another member, in bytes.
const maxAnswer = 64 << 20

// elsewhere is the member that an error says to ask instead, if this handler
// may ask it.
func (a *api) elsewhere(err error) string {
	var n *standby.NotActiveError
	if a.cfg.Forward == nil || !errors.As(err, &n) || n.Active == a.self {
		return ""
	}
	return n.Active
}

// onActive does a call here if this member is active, otherwise there.
func (a *api) onActive(c *call, max int, timeout time.Duration, again bool, h func(*call) error) error {
	if err := a.read(c, max); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), timeout)
	defer cancel()
	c.r = c.r.WithContext(ctx)
	err := h(c)
	if to := a.elsewhere(err); to != "" {
		err = a.forward(c, to, again)
	}
	return unheard(err, !again)
}

// forward has another member do the call and passes its answer on.
func (a *api) forward(c *call, to string, again bool) error {
	body := c.body
	if c.r.Method == http.MethodPost && len(body) == 0 && !again {
		body = []byte("{}") // so that it shows whether the call has left
	}
	ctx := c.r.Context()
	if again { // a switchover, a step-down: that another member becomes active is what they are for
		var cancel context.CancelFunc
		ctx, cancel = a.whileActive(ctx, to)
		defer cancel()
	}
	resp, sent, err := a.send(ctx, c.r.Method, to, c.r.URL.RequestURI(), c.r.Header.Get("Content-Type"), c.role, body)
	if err != nil {
		return lost(to, err, sent && !again)
	}
	defer resp.Body.Close()
	for _, name := range []string{"Content-Type", "Retry-After", wire.HeaderSeq, wire.HeaderTerm, wire.HeaderMember, wire.HeaderNext} {
		if v := resp.Header.Get(name); v != "" {
			c.w.Header().Set(name, v)
		}
	}
	if resp.ContentLength >= 0 {
		c.w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	c.w.WriteHeader(resp.StatusCode)
	if n, err := io.Copy(c.w, io.LimitReader(resp.Body, maxAnswer+1)); err != nil || n > maxAnswer {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	return nil
}

// send makes a request of another member and tells whether it may have begun
// to act on it.
func (a *api) send(ctx context.Context, method, to, uri, contentType string, role Role, body []byte) (*http.Response, bool, error) {
	req, sent, err := wire.NewRequest(ctx, method, "http://"+to+uri, body)
	if err != nil {
		return nil, false, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set(wire.HeaderRole, role.String())
	req.Header.Set(wire.HeaderForwarded, a.self)
	resp, err := a.cfg.Forward.RoundTrip(req)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return resp, sent.Maybe(), err
}

// A member that waits for another one's answer looks now and then whether that is
// still the active: one that is frozen, or cut off, says nothing. One that is not
// has some time to say what became of the call.
const (
	lookAgain = time.Second
	looks     = 3
)

// whileActive is a context that ends when another member has become active.
func (a *api) whileActive(ctx context.Context, to string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(lookAgain)
		defer tick.Stop()
		for seen := 0; seen < looks; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if now, _ := a.cfg.Group.Active(); now == "" || now == to {
				seen = 0
			} else if seen++; seen == looks {
				cancel(fmt.Errorf("%s became active before %s answered", now, to))
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// lost says what it means that the way to the active broke.
func lost(to string, err error, maybe bool) error {
	if maybe {
		return &standby.UncertainError{Reason: fmt.Sprintf("the connection to %s broke: %v", to, err)}
	}
	return &wire.Problem{
		Code: wire.NotActive, Active: to, RetryAfterMS: 100,
		Text: fmt.Sprintf("the active %s cannot be reached from here: %v", to, err), Remedy: "retry",
	}
}

// deliver hands events to the group, here or at the active. Every event gets
// an outcome.
func (a *api) deliver(ctx context.Context, role Role, evs []standby.Event) []standby.Result {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Limits.Timeout)
	defer cancel()
	res := a.cfg.Group.DeliverBatch(ctx, evs)
	to := a.elsewhere(res[0].Err)
	for i := range res {
		if !errors.Is(res[i].Err, standby.ErrNotActive) {
			to = ""
		}
		res[i].Err = unheard(res[i].Err, false)
	}
	if to != "" {
		res = a.deliverTo(ctx, to, role, evs)
	}
	for i := range res {
		a.counts.result(&res[i])
	}
	return res
}

// deliverTo hands events to another member's API.
func (a *api) deliverTo(ctx context.Context, to string, role Role, evs []standby.Event) []standby.Result {
	var body []byte
	for i := range evs {
		body = wire.AppendEvent(body, &evs[i])
	}
	res := make([]standby.Result, 0, len(evs))
	rest := func(err error) []standby.Result {
		for len(res) < len(evs) {
			res = append(res, standby.Result{Err: err})
		}
		return res
	}
	ctx, cancel := a.whileActive(ctx, to)
	defer cancel()
	resp, sent, err := a.send(ctx, http.MethodPost, to, "/v1/events", wire.NDJSON, role, body)
	if err != nil {
		return rest(lost(to, err, sent))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if r, err := wire.ParseResult(bytes.TrimSpace(text)); err == nil && r.Err != nil {
			return rest(r.Err)
		}
		return rest(lost(to, fmt.Errorf("it answers %s", resp.Status), true))
	}
	lines := wire.NewLines(resp.Body, wire.MaxResultLine)
	for len(res) < len(evs) {
		line, whole, err := lines.Next()
		if err == nil && !whole {
			err = io.ErrUnexpectedEOF
		}
		var r standby.Result
		if err == nil {
			r, err = wire.ParseResult(line)
		} else if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return rest(lost(to, err, true))
		}
		res = append(res, r)
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)) // the connection is used again
	return res
}
