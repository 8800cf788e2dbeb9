package httpapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/testkit"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shared is what a fake group agreed on.
type shared struct {
	mu      sync.Mutex
	active  string
	last    map[string]uint64
	applied []string
	outputs []chain.Output
	pruned  uint64 // outputs up to it are gone
	moved   chan struct{}
}

func (s *shared) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *shared) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// fake is one member of it.
type fake struct {
	name    string
	all     *shared
	role    standby.Role // empty: from who is active
	follows string       // whom it takes for the active, if not who is
	stopped chan struct{}
	batch   func([]standby.Event) []standby.Result // instead of the history
	query   func(context.Context) (standby.Answer, error)
	tweak   func(*standby.Status)
}

func (f *fake) DeliverBatch(ctx context.Context, evs []standby.Event) []standby.Result {
	res := make([]standby.Result, len(evs))
	if err := cmp.Or(f.inactive(), ctx.Err()); err != nil {
		for i := range res {
			res[i].Err = err
		}
		return res
	}
	if f.batch != nil {
		return f.batch(evs)
	}
	f.all.change(func() {
		for i := range evs {
			res[i].Receipt, res[i].Err = f.deliver(&evs[i])
		}
	})
	return res
}

func (f *fake) deliver(ev *standby.Event) (standby.Receipt, error) {
	last := f.all.last[ev.Producer]
	if ev.Producer != "" && ev.Sequence != last+1 {
		return standby.Receipt{}, &standby.GapError{Expected: last + 1}
	}
	if ev.Producer != "" {
		f.all.last[ev.Producer] = ev.Sequence
	}
	f.all.applied = append(f.all.applied, string(ev.Payload))
	n := uint64(len(f.all.applied))
	f.all.outputs = append(f.all.outputs, chain.Output{Number: n, Seq: n, Term: 7, Payload: ev.Payload})
	return standby.Receipt{Producer: ev.Producer, Sequence: ev.Sequence, Seq: n, Term: 7, Link: chain.Hash{1}, FirstOutput: n, Outputs: 1, OutputData: [][]byte{ev.Payload}}, nil
}

func (f *fake) inactive() error {
	name, self := f.Active()
	if self && f.role == "" {
		return nil
	}
	return &standby.NotActiveError{Active: name}
}

func (f *fake) Query(ctx context.Context, request []byte, stale bool) (standby.Answer, error) {
	if err := f.inactive(); err != nil && !stale {
		return standby.Answer{}, err
	}
	if f.query != nil {
		return f.query(ctx)
	}
	if string(request) == "no" {
		return standby.Answer{}, errors.New("no such key")
	}
	return standby.Answer{Data: append([]byte("re: "), request...), Seq: 5, Term: 7, Member: f.name}, nil
}

func (f *fake) Outputs(ctx context.Context, from uint64) iter.Seq2[chain.Output, error] {
	return func(yield func(chain.Output, error) bool) {
		for next := from; ; next++ {
			for {
				moved := f.all.wait()
				f.all.mu.Lock()
				pruned, have := f.all.pruned, uint64(len(f.all.outputs))
				var out chain.Output
				if next > pruned && next <= have {
					out = f.all.outputs[next-1]
				}
				f.all.mu.Unlock()
				if next <= pruned {
					yield(out, &standby.PrunedError{Oldest: pruned + 1})
					return
				}
				if next <= have {
					if !yield(out, nil) {
						return
					}
					break
				}
				select {
				case <-moved:
				case <-ctx.Done():
					yield(out, ctx.Err())
					return
				}
			}
		}
	}
}

func (f *fake) OutputsNext() uint64 {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	return uint64(len(f.all.outputs)) + 1
}

func (f *fake) Sync(context.Context) (standby.SyncResult, error) {
	return standby.SyncResult{Seq: 9, Bytes: 100, Members: map[string]string{"b": "restored"}}, f.inactive()
}

func (f *fake) Switchover(_ context.Context, to string) (standby.SwitchoverResult, error) {
	if err := f.inactive(); err != nil {
		return standby.SwitchoverResult{}, err
	}
	if to == "nobody" {
		return standby.SwitchoverResult{}, &standby.RefusedError{Reason: "nobody is no member"}
	}
	return standby.SwitchoverResult{From: f.name, To: to, Term: 8}, nil
}

func (f *fake) StepDown(context.Context, time.Duration) error { return f.inactive() }

func (f *fake) Status() standby.Status {
	st := standby.Status{Group: "test", Member: f.name, Role: f.role, Term: 7, Seq: 5}
	var self bool
	if st.Active, self = f.Active(); f.role == "" {
		st.Role = standby.RoleStandby
		if self {
			st.Role = standby.RoleActive
		}
	}
	for _, n := range []string{"a", "b", "c"} {
		st.Members = append(st.Members, standby.MemberStatus{Name: n, Role: st.Role})
	}
	if f.tweak != nil {
		f.tweak(&st)
	}
	return st
}

func (f *fake) Watch(ctx context.Context) iter.Seq[standby.Status] {
	return func(yield func(standby.Status) bool) {
		for {
			moved := f.all.wait()
			if !yield(f.Status()) {
				return
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (f *fake) AwaitActive(ctx context.Context) {
	for st := range f.Watch(ctx) {
		if st.Active != "" {
			return
		}
	}
}

// History begins with the first active.
func (f *fake) History(_ context.Context, limit int) ([]standby.Promotion, error) {
	if name, _ := f.Active(); name == "" {
		return nil, nil
	}
	return []standby.Promotion{{Term: 7, To: "a"}}[:min(1, limit)], nil
}

func (f *fake) Prove(_ context.Context, old uint64) (bundle []byte, next uint64, err error) {
	if old < 3 {
		next = old + 1
	}
	return []byte("proof\n"), next, f.inactive()
}
func (f *fake) TreeHead(context.Context) ([]byte, error) { return []byte("tree head\n"), f.inactive() }

func (f *fake) HeadAt(size uint64) (chain.Head, error) {
	if size > 6 {
		return chain.Head{}, &standby.RefusedError{Reason: "the history is shorter"}
	}
	return chain.Head{Link: chain.Link{Seq: size - 1}, Hash: chain.Hash{2}}, nil
}

func (f *fake) Founding() []byte { return testkit.Founding(3).Marshal() }

func (f *fake) Session(_ context.Context, p string) (uint64, bool, error) {
	if err := f.inactive(); err != nil {
		return 0, false, err
	}
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	n, ok := f.all.last[p]
	return n, ok, nil
}

func (f *fake) Active() (string, bool) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	active := cmp.Or(f.follows, f.all.active)
	return active, active == f.name
}

func (f *fake) Done() <-chan struct{} { return f.stopped }

// group is a fake group whose members serve their APIs on loopback.
type group struct {
	t       *testing.T
	all     *shared
	members map[string]*fake
	urls    map[string]string
	tr      *http.Transport   // connections are used again
	peers   map[string]string // addresses of the handlers for the other members
}

// RoundTrip reaches a member's handler for the others.
func (g *group) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	addr, ok := g.peers[r.URL.Host]
	if !ok {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no such member")}
	}
	r.URL.Host = addr
	return g.tr.RoundTrip(r)
}

func newGroup(t *testing.T, cfg httpapi.Config) *group {
	g := &group{t: t, members: make(map[string]*fake), urls: make(map[string]string), peers: make(map[string]string)}
	g.all = &shared{active: "a", last: make(map[string]uint64), moved: make(chan struct{})}
	g.tr = &http.Transport{}
	t.Cleanup(g.tr.CloseIdleConnections)
	for _, name := range []string{"a", "b", "c"} {
		m := &fake{name: name, all: g.all, stopped: make(chan struct{})}
		cfg := cfg
		cfg.Group, cfg.Forward = m, g
		h, err := httpapi.New(cfg)
		require.NoError(t, err)
		g.members[name], g.urls[name] = m, serve(t, h)
		g.peers[name] = strings.TrimPrefix(serve(t, httpapi.Peer(cfg)), "http://")
	}
	return g
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// reply is an answer in full.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *reply) problem(t *testing.T) wire.Problem {
	t.Helper()
	var p wire.Problem
	require.NoError(t, json.Unmarshal(r.body, &p), "%s", r.body)
	require.NotEmpty(t, p.Code)
	require.NotEmpty(t, p.Text)
	return p
}

func (r *reply) lines() [][]byte { return bytes.Split(bytes.TrimSpace(r.body), []byte("\n")) }

// call makes a call of a member; edit may change the request.
func (g *group) call(member, method, path, body string, edit ...func(*http.Request)) *reply {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, g.urls[member]+path, r)
	require.NoError(g.t, err)
	for _, f := range edit {
		f(req)
	}
	resp, err := g.tr.RoundTrip(req)
	require.NoError(g.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	return &reply{resp.StatusCode, resp.Header, b}
}

func ndjson(r *http.Request) { r.Header.Set("Content-Type", wire.NDJSON) }

func token(s string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+s) }
}
