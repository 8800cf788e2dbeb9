package client_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi"
)

// shared is the history that all members of a fake group serve.
type shared struct {
	mu      sync.Mutex
	last    map[string]uint64
	applied []string
	active  string
}

// history is what was applied by now; handlers of broken calls may still run.
func (s *shared) history() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.applied)
}

// fake is one member. What it does not define the tests do not call.
type fake struct {
	httpapi.Group
	name  string
	all   *shared
	fault func() (before, after error) // of one event
	batch func([]standby.Event)        // called before a batch is looked at
}

// AwaitActive: the fakes always know one.
func (f *fake) AwaitActive(context.Context) {}
func (f *fake) Done() <-chan struct{}       { return nil }
func (f *fake) Founding() []byte            { return nil }
func (f *fake) Active() (string, bool) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	return f.all.active, f.all.active == f.name
}

// Prove shows ten links at a time.
func (f *fake) Prove(_ context.Context, old uint64) (bundle []byte, next uint64, err error) {
	if old < 30 {
		next = old + 10
	}
	return fmt.Appendf(nil, "from %d\n", old), next, nil
}

func (f *fake) Status() standby.Status {
	st := standby.Status{Member: f.name, Role: standby.RoleStandby}
	var self bool
	if st.Active, self = f.Active(); self {
		st.Role = standby.RoleActive
	}
	return st
}

func (f *fake) Session(_ context.Context, p string) (uint64, bool, error) {
	name, self := f.Active()
	if !self {
		return 0, false, &standby.NotActiveError{Active: name}
	}
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	n, ok := f.all.last[p]
	return n, ok, nil
}

func (f *fake) DeliverBatch(_ context.Context, evs []standby.Event) []standby.Result {
	if f.batch != nil {
		f.batch(evs)
	}
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	res := make([]standby.Result, len(evs))
	for i := range evs {
		res[i].Receipt, res[i].Err = f.deliver(&evs[i])
	}
	return res
}

func (f *fake) deliver(ev *standby.Event) (standby.Receipt, error) {
	if f.all.active != f.name {
		return standby.Receipt{}, &standby.NotActiveError{Active: f.all.active}
	}
	var before, after error
	if f.fault != nil {
		before, after = f.fault()
	}
	if before != nil {
		return standby.Receipt{}, before
	}
	r := standby.Receipt{Producer: ev.Producer, Sequence: ev.Sequence, Link: chain.Hash{1}}
	last := f.all.last[ev.Producer]
	switch {
	case len(ev.Payload) > 100:
		return standby.Receipt{}, standby.ErrTooLarge
	case ev.Producer == "":
	case ev.Sequence <= last:
		r.Duplicate = true
		return r, after
	case ev.Sequence != last+1:
		return standby.Receipt{}, &standby.GapError{Expected: last + 1}
	}
	if ev.Producer != "" {
		f.all.last[ev.Producer] = ev.Sequence
	}
	f.all.applied = append(f.all.applied, string(ev.Payload))
	return r, after
}

// cutter breaks connections after a number of bytes, now and then.
type cutter struct {
	net.Listener
	after func() int // 0: never
}

type cutConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (l *cutter) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if n := l.after(); n > 0 {
		return &cutConn{Conn: c, left: n}, nil
	}
	return c, nil
}

func (c *cutConn) spend(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left -= n; c.left <= 0 {
		c.Conn.Close()
	}
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.spend(n)
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	c.spend(len(p))
	return c.Conn.Write(p)
}

// serve starts the members and gives their addresses.
func serve(t *testing.T, members []*fake, after func() int) []string {
	t.Helper()
	var urls []string
	for _, m := range members {
		h, err := httpapi.New(httpapi.Config{Group: m})
		require.NoError(t, err)
		s := httptest.NewUnstartedServer(h)
		if after != nil {
			s.Listener = &cutter{s.Listener, after}
		}
		s.Start()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		urls = append(urls, s.URL)
	}
	return urls
}

func group(names ...string) (*shared, []*fake) {
	all := &shared{last: make(map[string]uint64), active: names[0]}
	var ms []*fake
	for _, n := range names {
		ms = append(ms, &fake{name: n, all: all})
	}
	return all, ms
}

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	require.NoError(t, err)
	return c
}

func closeNow(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, c.Close(ctx))
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever breaks, in whatever order: each event once, in the order sent.
func TestExactlyOnceThroughChaos(t *testing.T) {
	var b [8]byte
	rand.Read(b[:])
	for round := range uint64(3) {
		seed := binary.LittleEndian.Uint64(b[:]) + round
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			var mu sync.Mutex
			rng := mrand.New(mrand.NewPCG(seed, 1))
			roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) }
			all, members := group("a", "b", "c")
			for _, m := range members {
				m.fault = func() (error, error) { // called with the history locked
					switch roll(60) {
					case 0:
						return &standby.BusyError{RetryAfter: time.Millisecond}, nil
					case 1:
						return &standby.UncertainError{Reason: "test"}, nil
					case 2:
						return nil, &standby.UncertainError{Reason: "test"}
					case 3:
						all.active = members[roll(3)].name
						return &standby.NotActiveError{}, nil
					}
					return nil, nil
				}
			}
			urls := serve(t, members, func() int {
				if roll(3) == 0 {
					return 0
				}
				return 1 + roll(6000)
			})
			c := newClient(t, client.Config{Members: urls, Producer: "p", MaxInFlight: 64})
			var want []string
			var pending []*client.Pending
			for i := range 250 {
				payload := fmt.Sprint("event ", i)
				p, err := c.Send(t.Context(), []byte(payload))
				require.NoError(t, err)
				want, pending = append(want, payload), append(pending, p)
			}
			for i, p := range pending {
				r, err := p.Wait(t.Context())
				require.NoError(t, err, i)
				require.EqualValues(t, i+1, r.Sequence)
			}
			closeNow(t, c)
			require.Equal(t, want, all.history())
		})
	}
}

// A name that the group knows goes on where it was.
func TestGoesOnWhereTheProducerWas(t *testing.T) {
	all, members := group("a")
	all.last["p"] = 41
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	r, err := c.Deliver(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.EqualValues(t, 42, r.Sequence)
	last, known, err := c.Session(t.Context(), "")
	require.NoError(t, err)
	require.True(t, known)
	require.EqualValues(t, 42, last)
}

// One event that can never be taken does not stop those behind it.
func TestRefusedForGoodMovesUp(t *testing.T) {
	all, members := group("a")
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	var ps []*client.Pending
	for _, s := range []string{"1", strings.Repeat("x", 101), "2", "3"} {
		p, err := c.Send(t.Context(), []byte(s))
		require.NoError(t, err)
		ps = append(ps, p)
	}
	for i, want := range []uint64{1, 0, 2, 3} {
		r, err := ps[i].Wait(t.Context())
		if want == 0 {
			require.ErrorIs(t, err, standby.ErrTooLarge)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, r.Sequence)
	}
	require.Equal(t, []string{"1", "2", "3"}, all.history())
}

// A second client under the same name is found out, not merged.
func TestForeignNumbersAreFatal(t *testing.T) {
	all, members := group("a")
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	_, err := c.Deliver(t.Context(), []byte("1"))
	require.NoError(t, err)
	all.mu.Lock()
	delete(all.last, "p")
	all.mu.Unlock()
	_, err = c.Deliver(t.Context(), []byte("2"))
	require.ErrorIs(t, err, standby.ErrGap)
	require.NotErrorIs(t, err, standby.ErrUncertain)
	_, err = c.Deliver(t.Context(), []byte("3"))
	require.ErrorIs(t, err, standby.ErrGap)
}

// Without a number, what may have arrived is not sent again.
func TestWithoutProducerAtMostOnce(t *testing.T) {
	var mu sync.Mutex
	rng := mrand.New(mrand.NewPCG(7, 7))
	all, members := group("a")
	urls := serve(t, members, func() int { mu.Lock(); defer mu.Unlock(); return 300 + rng.IntN(3000) })
	c := newClient(t, client.Config{Members: urls})
	defer closeNow(t, c)
	acknowledged := make(map[string]bool)
	uncertain := 0
	for i := range 200 {
		payload := fmt.Sprint(i)
		switch _, err := c.Deliver(t.Context(), []byte(payload)); {
		case err == nil:
			acknowledged[payload] = true
		default:
			require.ErrorIs(t, err, standby.ErrUncertain)
			uncertain++
		}
	}
	require.NotZero(t, uncertain, "no connection broke: the test tests nothing")
	seen := make(map[string]int)
	for _, p := range all.history() {
		seen[p]++
		require.Equal(t, 1, seen[p], p)
	}
	for p := range acknowledged {
		require.Equal(t, 1, seen[p], p)
	}
}

// serveSilent serves a member whose first stream of events is never answered.
func serveSilent(t *testing.T, cfg httpapi.Config) string {
	h, err := httpapi.New(cfg)
	require.NoError(t, err)
	release := make(chan struct{})
	var first atomic.Bool // calls are served at the same time: a broken one may still run when the next comes
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/events" && first.CompareAndSwap(false, true) {
			<-release
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(release) })
	return s.URL
}

// A member that takes everything and says nothing is left.
func TestSilentMemberIsLeft(t *testing.T) {
	_, members := group("a")
	good := serve(t, members, nil)
	url := serveSilent(t, httpapi.Config{Group: members[0]})
	c := newClient(t, client.Config{Members: []string{url, good[0]}, Producer: "p", StallTimeout: 300 * time.Millisecond})
	defer closeNow(t, c)
	r, err := c.Deliver(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Sequence)
}

// Where nobody else could be asked the connection is given up after the stall
// timeout.
func TestOnlyMemberIsSilent(t *testing.T) {
	_, members := group("a")
	url := serveSilent(t, httpapi.Config{Group: members[0]})
	c := newClient(t, client.Config{Members: []string{url}, Producer: "p", StallTimeout: 300 * time.Millisecond})
	defer closeNow(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for n := range uint64(3) {
		r, err := c.Deliver(ctx, []byte("x"))
		require.NoError(t, err)
		require.EqualValues(t, n+1, r.Sequence)
	}
}

// Closing without a group to speak to tells what was never sent.
func TestCloseTellsWhatDidNotHappen(t *testing.T) {
	ports, err := local.ReservePorts(1)
	require.NoError(t, err)
	defer ports.Release()
	c := newClient(t, client.Config{Members: []string{"http://" + ports.Addrs[0]}, Producer: "p"})
	p, err := c.Send(t.Context(), []byte("x"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, c.Close(ctx))
	_, err = p.Wait(t.Context())
	require.ErrorIs(t, err, standby.ErrClosed)
	require.NotErrorIs(t, err, standby.ErrUncertain)
	_, err = c.Send(t.Context(), nil)
	require.ErrorIs(t, err, standby.ErrClosed)
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []client.Config{{}, {Members: []string{"localhost:1"}}, {Members: []string{"http://a"}, MaxInFlight: 1025},
		{Members: []string{"http://a"}, Producer: strings.Repeat("x", 65)}, {Members: []string{"http://a"}, Producer: "\xff"}} {
		_, err := client.New(cfg)
		require.Error(t, err)
	}
}

// A proof over many handoffs comes in several answers.
func TestProofInSteps(t *testing.T) {
	_, members := group("a")
	c := newClient(t, client.Config{Members: serve(t, members, nil)})
	defer closeNow(t, c)
	for old, want := range map[uint64]string{40: "from 40\n", 15: "from 15\nfrom 25\nfrom 35\n"} {
		proof, err := c.Prove(t.Context(), old)
		require.NoError(t, err)
		require.Equal(t, want, string(proof))
	}
}
