package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// api is one handler.
type api struct {
	cfg     Config
	peer    bool // serves the other members
	keys    keyring
	self    string        // this member's name
	limit   int           // for a payload, here and by the group's settings
	streams chan struct{} // places for outputs and watches
	senders chan struct{} // places for streams of events
	counts  *counts
}

// New is the handler for clients. It fails on tokens that are unsafe.
func New(cfg Config) (http.Handler, error) {
	keys, err := newKeyring(cfg.Tokens)
	if err != nil {
		return nil, err
	}
	return newAPI(cfg, keys, false), nil
}

// Peer is the handler for calls that other members forward over the peer
// network. It takes their word for what the caller may do and never forwards.
func Peer(cfg Config) http.Handler {
	cfg.Forward = nil
	return newAPI(cfg, nil, true)
}

func newAPI(cfg Config, keys keyring, peer bool) http.Handler {
	cfg.Limits.setDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &api{cfg: cfg, peer: peer, keys: keys, self: cfg.Group.Status().Member, streams: make(chan struct{}, cfg.Limits.MaxStreams), senders: make(chan struct{}, cfg.Limits.MaxStreams), counts: newCounts(), limit: cfg.Limits.MaxEventBytes}
	if f, err := chain.ParseFounding(cfg.Group.Founding()); err == nil {
		a.limit = min(a.limit, int(f.Settings.MaxEventBytes))
	}
	return a.contain(a.routes())
}

// routes is the API's table of contents.
func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	l := &a.cfg.Limits
	add := func(method, path string, roles Role, h func(*call) error) {
		mux.Handle(method+" "+path, a.guarded(roles, h))
		mux.HandleFunc(path, a.otherMethod(method))
	}
	// What only the active can do. Of some nobody but the active knows whether
	// they were done: no answer is uncertain.
	const (
		once  = false
		again = true
	)
	active := func(method, path string, roles Role, max int, timeout time.Duration, repeat bool, h func(*call) error) {
		add(method, path, roles, func(c *call) error { return a.onActive(c, max, timeout, repeat, h) })
	}
	add("POST", "/v1/events", Deliver|Operate, a.events)
	active("GET", "/v1/session", Deliver|Operate, 0, l.Timeout, again, a.session)
	active("POST", "/v1/query", Read|Operate, l.MaxQueryBytes, l.Timeout, again, a.query)
	active("POST", "/v1/sync", Operate, maxBody, l.OperationTimeout, once, a.sync)
	active("POST", "/v1/switchover", Operate, maxBody, l.OperationTimeout, once, a.switchover)
	active("POST", "/v1/step-down", Operate, maxBody, l.OperationTimeout, once, a.stepDown)
	active("GET", "/v1/proof", anyRole, 0, l.Timeout, again, a.proof)
	active("GET", "/v1/tree-head", anyRole, 0, l.Timeout, again, a.treeHead)

	// What every member knows.
	add("GET", "/v1/outputs", Read|Operate, a.outputs)
	add("GET", "/v1/watch", anyRole, a.watch)
	add("GET", "/v1/status", anyRole, a.status)
	add("GET", "/v1/history", anyRole, a.history)
	add("GET", "/v1/head", anyRole, a.head)
	add("GET", "/v1/founding", anyRole, a.founding)
	add("GET", "/metrics", anyRole, a.metrics)

	for path, p := range probes {
		mux.HandleFunc(path, a.probe(p))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, wire.Problemf(wire.NotFound, "see docs/api.md", "no call %s %.100q", r.Method, r.URL.Path))
	})
	return mux
}

// otherMethod answers what came to a path by another method than its own.
func (a *api) otherMethod(method string) http.HandlerFunc {
	allow := method
	if method == http.MethodGet {
		allow = "GET, HEAD"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		a.fail(w, wire.Problemf(wire.BadMethod, "use "+allow, "%s takes no %.20q", r.URL.Path, r.Method))
	}
}

// maxBody bounds the small JSON bodies.
const maxBody = 4 << 10

// call is one request and what its caller may do.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	role Role
	body []byte
}

// contain is around every call. A body has to come in time even if nobody reads
// it: net/http does so before it answers. Calls that a web page of elsewhere has
// a browser make are refused. A handler's panic does not hide: it is logged with
// its stack and answered; an answer that has begun is broken off.
func (a *api) contain(h http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := newBegun(w, r, a.cfg.Limits.WriteTimeout)
		w = begun
		defer begun.limit() // for what is left in the buffers
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			a.cfg.Logger.Error("an API call panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if begun.answer {
				panic(http.ErrAbortHandler) // what came now would pass for a part of the answer
			}
			a.fail(w, wire.Problemf(wire.Internal, "see this member's log", "the call failed within this member"))
		}()
		w.Header().Set(wire.HeaderVia, a.self)
		if name, _ := a.cfg.Group.Active(); name != "" {
			w.Header().Set(wire.HeaderActive, name)
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Body != nil && r.Body != http.NoBody {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.cfg.Limits.Timeout))
		}
		err := origin.Check(r)
		if h := r.Header; h.Get("Sec-Fetch-Site") == "cross-site" && h.Get("Sec-Fetch-Mode") != "navigate" {
			err = errors.New("a page of another site makes this call")
		}
		if err != nil {
			p := wire.Problemf(wire.Unauthorized, "call from the page's own server", "%v", err)
			p.Forbidden = true
			a.fail(w, p)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// guarded lets those through that have one of the roles.
func (a *api) guarded(roles Role, h func(*call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role, err := a.who(r)
		if err == nil && role&roles == 0 {
			p := wire.Problemf(wire.Unauthorized, "use a token with that role", "this needs one of the roles %v, the caller has %v", roles, role)
			p.Forbidden = true
			err = p
		}
		if err != nil {
			a.cfg.Logger.Info("an API call was refused", "remote", r.RemoteAddr, "path", r.URL.Path, "err", err)
		} else {
			err = h(&call{w: w, r: r, role: role})
		}
		if err != nil {
			a.fail(w, err)
		}
	})
}

// fail answers with a problem.
func (a *api) fail(w http.ResponseWriter, err error) {
	p := wire.ProblemOf(err)
	a.counts.problem(p.Code)
	if p.RetryAfterMS > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt((p.RetryAfterMS+999)/1000, 10))
	}
	if p.Code == wire.Unauthorized && !p.Forbidden {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, p.Status(), p)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // a reader that went away is told by its own side
	return nil
}

// read takes in a body of at most max bytes, within the call's time. After one
// that did not come in full the connection is of no more use.
func (a *api) read(c *call, max int) error {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	body, err := io.ReadAll(limited(c.w, c.r, int64(max)))
	if err == nil {
		c.body = body
		http.NewResponseController(c.w).SetReadDeadline(time.Time{})
		return nil
	}
	c.w.Header().Set("Connection", "close")
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return wire.Problemf(wire.TooSlow, "nothing happened: send it again", "the body did not come within %v", a.cfg.Limits.Timeout)
	}
	return wire.Problemf(wire.BadRequest, "nothing happened: send it again", "the body could not be read: %v", err)
}

// decode reads a call that takes no parameters and a small JSON object of such
// names, strictly: each once and as it is written. No body is an empty object.
func (c *call) decode(v any, names ...string) error {
	if _, err := c.params(); err != nil {
		return err
	}
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	err := flat(c.body, names)
	if err == nil {
		err = json.Unmarshal(c.body, v)
	}
	if err != nil {
		return wire.Problemf(wire.BadRequest, "see docs/api.md", "the body is not what this call takes: %v", err)
	}
	return nil
}

// flat checks that a JSON text is an object without others in it, which has the
// names at most once.
func flat(text []byte, names []string) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return cmp.Or(err, errors.New("it is no object"))
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if !slices.Contains(names, name) || seen[name] {
			return fmt.Errorf("unknown or repeated field %.40q", name)
		}
		seen[name] = true
		if t, err := d.Token(); err != nil {
			return err
		} else if _, nested := t.(json.Delim); nested {
			return fmt.Errorf("field %q takes no list and no object", name)
		}
	}
	if _, err := d.Token(); err != nil { // the end of the object
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return cmp.Or(err, errors.New("something follows the object"))
	}
	return nil
}

// params reads a call's parameters strictly: unknown ones are errors.
func (c *call) params(names ...string) (map[string]string, error) { return params(c.r, names) }

func params(r *http.Request, names []string) (map[string]string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, wire.Problemf(wire.BadRequest, "write each as name=value, joined by &", "the parameters cannot be read: %v", err)
	}
	out := make(map[string]string)
	for name, values := range query {
		if !slices.Contains(names, name) || len(values) != 1 {
			takes := "this call takes no parameters"
			if len(names) > 0 {
				takes = "this call takes " + strings.Join(names, ", ")
			}
			return nil, wire.Problemf(wire.BadRequest, takes, "unknown or repeated parameter %.40q", name)
		}
		out[name] = values[0]
	}
	return out, nil
}

func number(params map[string]string, name string, missing uint64) (uint64, error) {
	s, ok := params[name]
	if !ok {
		return missing, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, wire.Problemf(wire.BadRequest, "use a whole number from 0 on", "parameter %s is %.40q", name, s)
	}
	return n, nil
}

func flag(params map[string]string, name string) (bool, error) {
	switch v, ok := params[name]; {
	case !ok, v == "0", v == "false":
		return false, nil
	case v == "1", v == "true", v == "":
		return true, nil
	}
	return false, wire.Problemf(wire.BadRequest, "use 1 or 0", "parameter %s is %.40q", name, params[name])
}

// unheard says what the end of a call's time means: for a call that changes
// something nobody knows, for others nothing happened. Such a call has no number
// to be sent again with: what became of it is to be looked up.
func unheard(err error, changes bool) error {
	var unsure *standby.UncertainError
	if changes && errors.As(err, &unsure) && unsure.Remedy == "" {
		return &standby.UncertainError{Reason: unsure.Reason, Remedy: lookUp}
	}
	if err == nil || errors.Is(err, standby.ErrUncertain) ||
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	if changes {
		return &standby.UncertainError{Reason: err.Error(), Remedy: lookUp}
	}
	return &wire.Problem{Code: wire.Busy, Text: "not done in time: " + err.Error(), RetryAfterMS: 100, Remedy: "nothing happened: retry"}
}

const lookUp = "see status and history"
