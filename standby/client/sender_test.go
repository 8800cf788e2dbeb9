package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi"
)

// early has events of another sender arrive just before the batch that brings
// the payload.
func early(f *fake, payload string, evs ...standby.Event) {
	var once sync.Once
	f.batch = func(batch []standby.Event) {
		for i := range batch {
			if string(batch[i].Payload) == payload {
				once.Do(func() {
					f.all.mu.Lock()
					defer f.all.mu.Unlock()
					for i := range evs {
						f.deliver(&evs[i])
					}
				})
			}
		}
	}
}

// A producer that restarts asks where it was while events of its last life are
// still on their way: their receipts are not taken for its own.
func TestEventsOfAnEarlierLifeAreNotOurs(t *testing.T) {
	all, members := group("a")
	all.last["p"] = 3
	early(members[0], "new 1", standby.Event{Producer: "p", Sequence: 4, Payload: []byte("old 4")}, standby.Event{Producer: "p", Sequence: 5, Payload: []byte("old 5")})
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	var ps []*client.Pending
	for _, s := range []string{"new 1", "new 2"} {
		p, err := c.Send(t.Context(), []byte(s))
		require.NoError(t, err)
		ps = append(ps, p)
	}
	for i, p := range ps {
		r, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 6+i, r.Sequence)
		require.False(t, r.Duplicate)
	}
	require.Equal(t, []string{"old 4", "old 5", "new 1", "new 2"}, all.history())
}

// A second client in the middle of the first one's events: the one that loses a
// number says so and stops.
func TestNameInUseStopsTheClient(t *testing.T) {
	all, members := group("a")
	early(members[0], "2", standby.Event{Producer: "p", Sequence: 2, Payload: []byte("foreign")})
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	_, err := c.Deliver(t.Context(), []byte("1"))
	require.NoError(t, err)
	_, err = c.Deliver(t.Context(), []byte("2"))
	require.ErrorIs(t, err, client.ErrNameInUse)
	require.NotErrorIs(t, err, standby.ErrUncertain)
	_, err = c.Deliver(t.Context(), []byte("3"))
	require.ErrorIs(t, err, client.ErrNameInUse)
	require.Equal(t, []string{"1", "foreign"}, all.history())
}

// The events behind one that is refused for good left with numbers of their
// own and are still looked at: they move up only after that.
func TestMovesUpOnlyWhatIsNoLongerOnItsWay(t *testing.T) {
	all, members := group("a")
	big := string(bytes.Repeat([]byte("x"), 101))
	looked, goOn, again := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	seen := make(map[string]int)
	members[0].batch = func(evs []standby.Event) {
		mu.Lock()
		first := make(map[string]bool)
		for i := range evs {
			seen[string(evs[i].Payload)]++
			first[string(evs[i].Payload)] = seen[string(evs[i].Payload)] == 1
		}
		second := slices.ContainsFunc(evs, func(ev standby.Event) bool { return string(ev.Payload) == "2" }) && seen["2"] == 2
		mu.Unlock()
		switch {
		case first[big]:
			close(looked)
			<-goOn
		case first["2"]: // held up on its way, for as long as a client could be tempted
			select {
			case <-again:
			case <-time.After(300 * time.Millisecond):
			}
		case second:
			close(again)
		}
	}
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	_, err := c.Deliver(t.Context(), []byte("1"))
	require.NoError(t, err)
	var ps []*client.Pending
	send := func(s string) {
		p, err := c.Send(t.Context(), []byte(s))
		require.NoError(t, err)
		ps = append(ps, p)
	}
	send(big)
	<-looked
	send("2")
	send("3")
	close(goOn)
	_, err = ps[0].Wait(t.Context())
	require.ErrorIs(t, err, standby.ErrTooLarge)
	for i, p := range ps[1:] {
		r, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2+i, r.Sequence)
	}
	require.Equal(t, []string{"1", "2", "3"}, all.history())
}

// What is over the group's limit is refused here, before it has a number.
func TestTooLargeIsKnownBeforehand(t *testing.T) {
	all, members := group("a")
	h, err := httpapi.New(httpapi.Config{Group: members[0], Limits: httpapi.Limits{MaxEventBytes: 50}})
	require.NoError(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	var calls int
	members[0].batch = func(evs []standby.Event) {
		for i := range evs {
			if len(evs[i].Payload) > 50 {
				calls++
			}
		}
	}
	c := newClient(t, client.Config{Members: []string{s.URL}, Producer: "p"})
	var ps []*client.Pending
	for i := range 5 {
		p, err := c.Send(t.Context(), bytes.Repeat([]byte("y"), 20*i))
		require.NoError(t, err)
		ps = append(ps, p)
	}
	for i, p := range ps {
		r, err := p.Wait(t.Context())
		if i > 2 {
			require.ErrorIs(t, err, standby.ErrTooLarge)
			continue
		}
		require.NoError(t, err)
		require.EqualValues(t, i+1, r.Sequence)
	}
	closeNow(t, c)
	require.Zero(t, calls)
	require.Len(t, all.history(), 3)
}

// A member that failed within may have applied what it was sent: an event
// without a number is not sent again.
func TestInternalFailureIsUncertain(t *testing.T) {
	_, members := group("a")
	h, err := httpapi.New(httpapi.Config{Group: members[0]})
	require.NoError(t, err)
	var mu sync.Mutex
	calls := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/events" {
			h.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		calls++
		mu.Unlock()
		http.NewResponseController(w).EnableFullDuplex()
		r.Body.Read(make([]byte, 10))
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"error":"test","code":"internal"}`)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	c := newClient(t, client.Config{Members: []string{s.URL}})
	defer closeNow(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = c.Deliver(ctx, []byte("x"))
	require.NoError(t, ctx.Err())
	require.ErrorIs(t, err, standby.ErrUncertain)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 1, calls)
}

// Payloads may be used again at once.
func TestPayloadIsCopied(t *testing.T) {
	all, members := group("a")
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	b := make([]byte, 8)
	for i := range 50 {
		copy(b, fmt.Sprintf("event %02d", i))
		_, err := c.Send(t.Context(), b)
		require.NoError(t, err)
	}
	closeNow(t, c)
	for i, s := range all.history() {
		require.Equal(t, fmt.Sprintf("event %02d", i), s)
	}
}
