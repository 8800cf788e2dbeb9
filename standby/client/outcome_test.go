package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// An event that left behind one that was refused, and was applied since somebody else filled the hole, has its receipt.
func TestReceiptBehindAHoleIsAReceipt(t *testing.T) {
	all, members := group("a")
	big := string(bytes.Repeat([]byte("x"), 101))
	looked, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	members[0].batch = func(evs []standby.Event) {
		if string(evs[0].Payload) == big {
			once.Do(func() {
				close(looked)
				<-goOn
				all.mu.Lock()
				defer all.mu.Unlock()
				members[0].deliver(&standby.Event{Producer: "p", Sequence: 2, Payload: []byte("foreign")})
			})
		}
	}
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	_, err := c.Deliver(t.Context(), []byte("1"))
	require.NoError(t, err)
	p1, err := c.Send(t.Context(), []byte(big))
	require.NoError(t, err)
	<-looked
	p2, err := c.Send(t.Context(), []byte("2"))
	require.NoError(t, err)
	close(goOn)
	_, err = p1.Wait(t.Context())
	require.ErrorIs(t, err, standby.ErrTooLarge)
	_, err = p2.Wait(t.Context())
	require.Equal(t, []string{"1", "foreign", "2"}, all.history(), "it happened")
	if err != nil {
		require.ErrorIs(t, err, standby.ErrUncertain, "it is told that it did not")
	}
}

// Also the outcome of one event may be that nobody knows.
func TestInternalFailureInALineIsUncertain(t *testing.T) {
	all, members := group("a")
	members[0].fault = func() (before, after error) { return nil, errors.New("disk") }
	c := newClient(t, client.Config{Members: serve(t, members, nil)})
	defer closeNow(t, c)
	_, err := c.Deliver(t.Context(), []byte("x"))
	require.Error(t, err)
	require.Equal(t, []string{"x"}, all.history(), "it happened")
	require.ErrorIs(t, err, standby.ErrUncertain)
}

// A failure that this version does not know leaves open what happened.
func TestUnknownCodeGoesByItsStatus(t *testing.T) {
	all, members := group("a")
	h, err := httpapi.New(httpapi.Config{Group: members[0]})
	require.NoError(t, err)
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/events" || calls.Add(1) > 1 {
			h.ServeHTTP(w, r)
			return
		}
		// What stands between them took the event there and gave up waiting.
		http.NewResponseController(w).EnableFullDuplex()
		line, _, err := wire.NewLines(r.Body, 1<<20).Next()
		if err == nil {
			ev, _ := wire.ParseEvent(line)
			members[0].DeliverBatch(r.Context(), []standby.Event{ev})
		}
		w.WriteHeader(http.StatusGatewayTimeout)
		io.WriteString(w, `{"error":"upstream timed out","code":"gateway_timeout"}`)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	c := newClient(t, client.Config{Members: []string{s.URL}})
	defer closeNow(t, c)
	_, err = c.Deliver(t.Context(), []byte("x"))
	require.Equal(t, []string{"x"}, all.history(), "it was sent twice")
	require.ErrorIs(t, err, standby.ErrUncertain)
}

// So does it for an operation.
func TestOperationOfUnknownOutcome(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
	}{
		{504, `{"error":"upstream timed out","code":"gateway_timeout"}`},
		{500, `{"error":"the call failed within this member","code":"internal"}`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		cl := newClient(t, client.Config{Members: []string{s.URL}})
		_, err := cl.Switchover(t.Context(), "b")
		closeNow(t, cl)
		if !errors.Is(err, standby.ErrUncertain) {
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
	}
}

// A code that is not known and says to come again later is no refusal for good.
func TestUnknownCodeThatSaysLater(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusRequestTimeout} {
		all, members := group("a")
		h, err := httpapi.New(httpapi.Config{Group: members[0]})
		require.NoError(t, err)
		var events, others atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls := &others
			if r.URL.Path == "/v1/events" {
				calls = &events
			}
			if r.URL.Path == "/active" || calls.Add(1) > 1 {
				h.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(status)
			io.WriteString(w, `{"error":"come again later","code":"throttled"}`)
		}))
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		c := newClient(t, client.Config{Members: []string{s.URL}, Producer: "p"})
		_, err = c.Deliver(t.Context(), []byte("x"))
		require.NoError(t, err, status)
		require.Equal(t, []string{"x"}, all.history())
		others.Store(0)
		_, err = c.Status(t.Context())
		require.NoError(t, err, status)
		closeNow(t, c)
	}
}

// An event that was refused when it was sent again may have happened before.
func TestRefusedSecondCopy(t *testing.T) {
	all, members := group("a")
	calls := 0
	members[0].fault = func() (before, after error) {
		if calls++; calls == 1 {
			return nil, &standby.UncertainError{Reason: "test"}
		}
		return standby.ErrTooLarge, nil
	}
	c := newClient(t, client.Config{Members: serve(t, members, nil), Producer: "p"})
	defer closeNow(t, c)
	_, err := c.Deliver(t.Context(), []byte("x"))
	require.Error(t, err)
	require.Equal(t, []string{"x"}, all.history(), "it happened")
	require.ErrorIs(t, err, standby.ErrUncertain)
}
