package client_test

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// Outputs are gone once every member said so.
func TestPrunedHereIsNotPrunedEverywhere(t *testing.T) {
	_, members := group("a", "b")
	h, err := httpapi.New(httpapi.Config{Group: &pruner{members[0]}})
	require.NoError(t, err)
	a := httptest.NewServer(h)
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	var calls atomic.Int32
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			panic(http.ErrAbortHandler) // it is being restarted
		}
		line, _ := json.Marshal(&chain.Output{Number: 1, Seq: 1, Term: 1, Payload: []byte("kept")})
		w.Write(append(line, '\n'))
	}))
	t.Cleanup(func() { b.CloseClientConnections(); b.Close() })
	c := newClient(t, client.Config{Members: []string{a.URL, b.URL}})
	defer closeNow(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for out, err := range c.Outputs(ctx, 1, false) {
		require.NoError(t, err)
		require.EqualValues(t, 1, out.Number)
	}
	require.EqualValues(t, 2, calls.Load())
}

// What stands between a reader and a member may fail in words of its own. To read
// again does no harm.
func TestFollowOutlastsAGateway(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusGatewayTimeout)
			io.WriteString(w, `{"error":"upstream timed out","code":"gateway_timeout"}`)
			return
		}
		line, _ := json.Marshal(&chain.Output{Number: 1, Seq: 1, Term: 1})
		w.Write(append(line, '\n'))
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	c := newClient(t, client.Config{Members: []string{s.URL}})
	defer closeNow(t, c)
	for out, err := range c.Outputs(t.Context(), 1, true) {
		require.NoError(t, err)
		require.EqualValues(t, 1, out.Number)
		break
	}
	require.EqualValues(t, 2, calls.Load())
}

// Whoever begins at the oldest output that is kept misses none that a member has.
func TestOldestIsThatOfAllMembers(t *testing.T) {
	var urls []string
	for _, oldest := range []uint64{15, 10, 20} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusGone)
			json.NewEncoder(w).Encode(&wire.Problem{Text: "pruned", Code: wire.Pruned, Oldest: oldest})
		}))
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		urls = append(urls, s.URL)
	}
	c := newClient(t, client.Config{Members: urls})
	defer closeNow(t, c)
	var pruned *standby.PrunedError
	for _, err := range c.Outputs(t.Context(), 1, true) {
		require.ErrorAs(t, err, &pruned)
	}
	require.EqualValues(t, 10, pruned.Oldest)
}

// An answer that is too long is not asked for again.
func TestAnswerOverTheLimit(t *testing.T) {
	var calls atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		b := make([]byte, 1<<20)
		for range 65 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	c := newClient(t, client.Config{Members: []string{s.URL}, StallTimeout: time.Minute})
	defer closeNow(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.Query(ctx, []byte("x"), false)
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "%d times 64 MiB: %v", calls.Load(), err)
}

// A query that takes longer than a stall is answered in the end.
func TestSlowQueryIsAnswered(t *testing.T) {
	_, members := group("a")
	q := &slowQuery{fake: members[0]}
	h, err := httpapi.New(httpapi.Config{Group: q})
	require.NoError(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	c := newClient(t, client.Config{Members: []string{s.URL}, StallTimeout: 300 * time.Millisecond})
	defer closeNow(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	_, err = c.Query(ctx, []byte("x"), false)
	require.NoError(t, err, "asked %d times", q.calls.Load())
}

type pruner struct{ *fake }

func (p *pruner) OutputsNext() uint64 { return 10 }
func (p *pruner) Outputs(context.Context, uint64) iter.Seq2[chain.Output, error] {
	return func(yield func(chain.Output, error) bool) { yield(chain.Output{}, &standby.PrunedError{Oldest: 5}) }
}

type slowQuery struct {
	*fake
	calls atomic.Int32
}

func (s *slowQuery) Query(ctx context.Context, _ []byte, _ bool) (standby.Answer, error) {
	s.calls.Add(1)
	select {
	case <-time.After(600 * time.Millisecond):
		return standby.Answer{Member: "a"}, nil
	case <-ctx.Done():
		return standby.Answer{}, ctx.Err()
	}
}
