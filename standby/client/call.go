package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// maxAnswer bounds what is read as one answer, in bytes.
const maxAnswer = 64 << 20

// operationTimeout is how long the answer to what must not be done twice may
// take: longer than members take for it.
const operationTimeout = 150 * time.Second

func (c *Client) request(ctx context.Context, method string, member int, path string, body io.ReadCloser) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.Members[member]+path, nil)
	if err != nil {
		return nil, err
	}
	req.Body = body
	if body != nil {
		req.ContentLength = -1
	}
	c.authorize(req)
	return req, nil
}

func (c *Client) authorize(req *http.Request) {
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
}

// problemOf reads an answer that is not a success.
func problemOf(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	p := new(wire.Problem)
	if json.Unmarshal(text, p) == nil && p.Code != "" {
		if p.Code == wire.Unauthorized {
			p.Forbidden = resp.StatusCode == http.StatusForbidden
		}
		if !p.Code.Known() { // of a later version, or of what stands between
			p.Code = codeFor(resp.StatusCode, p.Code)
		}
		return p
	}
	return fmt.Errorf("%s answers %s: is that a member's API address? It says %.200q", resp.Request.URL.Host, resp.Status, text)
}

// codeFor is what a code that is not known means by its status: from 500 on, and
// when the body was waited for, it stays open what happened; else nothing did.
func codeFor(status int, unknown wire.Code) wire.Code {
	switch {
	case status >= 500, status == http.StatusRequestTimeout:
		return unknown
	case status == http.StatusTooManyRequests:
		return wire.Busy
	}
	return wire.BadRequest
}

// answer is what a member said, in full.
type answer struct {
	body   []byte
	header http.Header
}

// once asks one member. Sent tells whether it may have begun to act.
func (c *Client) once(ctx context.Context, member int, method, path string, body []byte) (a answer, sent bool, err error) {
	req, watch, err := wire.NewRequest(ctx, method, c.cfg.Members[member]+path, body)
	if err != nil {
		return a, false, err
	}
	c.authorize(req)
	resp, err := c.http.RoundTrip(req)
	if err != nil {
		return a, watch.Maybe(), err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, true, problemOf(resp)
	}
	a.header = resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(a.body) > maxAnswer {
		err = fmt.Errorf("%w: over %d bytes", errTooMuch, maxAnswer)
	}
	return a, true, err
}

var errTooMuch = errors.New("the answer is too long")

// retriable errors may go away, and mean that nothing happened.
func retriable(err error) bool {
	return errors.Is(err, standby.ErrNotActive) || errors.Is(err, standby.ErrBusy) || errors.Is(err, standby.ErrClosed) || codeOf(err) == wire.TooSlow
}

// call asks members until one answers or the context ends. What must not be
// done twice is asked for again only if nothing can have happened.
func (c *Client) call(ctx context.Context, method, path string, body []byte, again bool) (answer, error) {
	if !again && len(body) == 0 {
		body = []byte("{}") // so that it shows whether the call has left
	}
	var wait backoff
	for turn := 0; ; turn++ {
		member := (c.first() + turn) % len(c.cfg.Members)
		limit := operationTimeout
		if again { // twice as long each time: an answer may take longer than a frozen member is waited for
			limit = min(limit, c.cfg.StallTimeout<<min(turn, 10))
		}
		try, cancel := context.WithTimeout(ctx, limit)
		a, sent, err := c.once(try, member, method, path, body)
		cancel()
		var p *wire.Problem
		switch {
		case err == nil:
			c.prefer(member)
			return a, nil
		case errors.Is(err, errTooMuch), errors.As(err, &p) && !retriable(err) && !p.Code.Open():
			return a, err
		case !again && sent && (p == nil || p.Code.Open()):
			return a, &standby.UncertainError{Reason: err.Error(), Remedy: "see status and history"}
		}
		var d time.Duration
		if (turn+1)%len(c.cfg.Members) == 0 || p != nil {
			d = wait.next()
		}
		if e := pause(ctx, d); e != nil {
			if p != nil {
				return a, err
			}
			return a, fmt.Errorf("no member answered in time (%w): %w", context.Cause(ctx), err)
		}
	}
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	return c.decode(v)(c.call(ctx, http.MethodGet, path, nil, true))
}

func (c *Client) decode(v any) func(answer, error) error {
	return func(a answer, err error) error {
		if err != nil {
			return err
		}
		if err := json.Unmarshal(a.body, v); err != nil {
			return fmt.Errorf("the answer cannot be read: %w", err)
		}
		return nil
	}
}

func (c *Client) session(ctx context.Context, member int, producer string) (wire.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StallTimeout)
	defer cancel()
	a, _, err := c.once(ctx, member, http.MethodGet, "/v1/session?producer="+url.QueryEscape(producer), nil)
	var s wire.Session
	return s, c.decode(&s)(a, err)
}

// Session tells a producer's newest number, and whether the group knows the
// producer. An empty name stands for the client's own.
func (c *Client) Session(ctx context.Context, producer string) (last uint64, known bool, err error) {
	if producer == "" {
		producer = c.cfg.Producer
	}
	var s wire.Session
	err = c.get(ctx, "/v1/session?producer="+url.QueryEscape(producer), &s)
	return s.Last, s.Known, err
}

// Query asks the daemon: the active, or, with stale, any member, whose answer
// is true for the position that it names.
func (c *Client) Query(ctx context.Context, request []byte, stale bool) (standby.Answer, error) {
	path := "/v1/query"
	if stale {
		path += "?stale=1"
	}
	a, err := c.call(ctx, http.MethodPost, path, request, true)
	if err != nil {
		return standby.Answer{}, err
	}
	ans := standby.Answer{Data: a.body, Member: a.header.Get(wire.HeaderMember)}
	var errs [2]error
	ans.Seq, errs[0] = strconv.ParseUint(a.header.Get(wire.HeaderSeq), 10, 64)
	ans.Term, errs[1] = strconv.ParseUint(a.header.Get(wire.HeaderTerm), 10, 64)
	return ans, errors.Join(errs[:]...)
}

// Status is what the member that answers first knows of the group.
func (c *Client) Status(ctx context.Context) (standby.Status, error) {
	var st standby.Status
	return st, c.get(ctx, "/v1/status", &st)
}

// History lists the newest promotions, newest first, at most limit (1 to 1,000).
func (c *Client) History(ctx context.Context, limit int) ([]standby.Promotion, error) {
	var v struct {
		Promotions []standby.Promotion `json:"promotions"`
	}
	return v.Promotions, c.get(ctx, "/v1/history?limit="+strconv.Itoa(limit), &v)
}

// Sync makes a checkpoint now and has every standby hold it.
func (c *Client) Sync(ctx context.Context) (standby.SyncResult, error) {
	var r standby.SyncResult
	return r, c.decode(&r)(c.call(ctx, http.MethodPost, "/v1/sync", nil, false))
}

// Switchover hands the active role to a member; empty: to the best one.
func (c *Client) Switchover(ctx context.Context, to string) (standby.SwitchoverResult, error) {
	var r standby.SwitchoverResult
	body, err := json.Marshal(map[string]string{"to": to})
	if err != nil {
		return r, err
	}
	return r, c.decode(&r)(c.call(ctx, http.MethodPost, "/v1/switchover", body, false))
}

// StepDown has the active give its role up and not take it back for a while.
// It returns the member that did.
func (c *Client) StepDown(ctx context.Context, hold time.Duration) (string, error) {
	var v struct {
		Member string `json:"member"`
	}
	body := fmt.Appendf(nil, `{"hold_ms":%d}`, hold.Milliseconds())
	return v.Member, c.decode(&v)(c.call(ctx, http.MethodPost, "/v1/step-down", body, false))
}

func (c *Client) text(ctx context.Context, path string) ([]byte, error) {
	a, err := c.call(ctx, http.MethodGet, path, nil, true)
	return bytes.Clone(a.body), err
}

// MaxProof bounds the proof that [Client.Prove] puts together, in bytes.
const MaxProof = 64 << 20

// Prove gives the proof that the history of now continues the head with the
// given size: one bundle, or several one after the other if the role changed
// hands many times.
func (c *Client) Prove(ctx context.Context, old uint64) ([]byte, error) {
	var proof []byte
	for {
		a, err := c.call(ctx, http.MethodGet, "/v1/proof?old="+strconv.FormatUint(old, 10), nil, true)
		if err != nil {
			return nil, err
		}
		proof = append(proof, a.body...)
		next := a.header.Get(wire.HeaderNext)
		if next == "" {
			return proof, nil
		}
		n, err := strconv.ParseUint(next, 10, 64)
		switch {
		case err != nil || n <= old:
			return nil, fmt.Errorf("a proof from size %d is said to go on from %.30q", old, next)
		case len(proof) > MaxProof:
			return nil, fmt.Errorf("the proof is longer than %d bytes by size %d: begin at a newer head", MaxProof, n)
		}
		old = n
	}
}

// TreeHead gives a signed note about the history as it is now.
func (c *Client) TreeHead(ctx context.Context) ([]byte, error) { return c.text(ctx, "/v1/tree-head") }

// Head gives the line to keep of the history at a size, from which a later
// proof starts; size 0 is now.
func (c *Client) Head(ctx context.Context, size uint64) ([]byte, error) {
	return c.text(ctx, "/v1/head?size="+strconv.FormatUint(size, 10))
}

// Founding gives the group's founding record.
func (c *Client) Founding(ctx context.Context) ([]byte, error) { return c.text(ctx, "/v1/founding") }
