package httpapi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// Whoever does not take an answer holds nothing for ever.
func TestAnswerNobodyTakes(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	g.members["a"].query = func(context.Context) (standby.Answer, error) {
		return standby.Answer{Data: make([]byte, 32<<20), Seq: 1, Term: 1, Member: "a"}, nil
	}
	h, err := httpapi.New(httpapi.Config{Group: g.members["a"], Limits: httpapi.Limits{Timeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond}})
	require.NoError(t, err)
	var running atomic.Int32
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Add(-1)
		h.ServeHTTP(w, r)
	}))
	_, _ = raw(t, url, "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
	require.Eventually(t, func() bool { return running.Load() == 1 }, time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return running.Load() == 0 }, 5*time.Second, 10*time.Millisecond, "25 times the WriteTimeout")
}

// Nor who asks and asks without a token, and reads nothing.
func TestProbesNobodyReads(t *testing.T) {
	g := newGroup(t, httpapi.Config{Tokens: tokens})
	h, err := httpapi.New(httpapi.Config{Group: g.members["a"], Tokens: tokens, Limits: httpapi.Limits{Timeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond}})
	require.NoError(t, err)
	var state atomic.Int32
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadHeaderTimeout, s.Config.IdleTimeout = time.Second, time.Second
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) { state.Store(int32(st)) }
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	c, _ := raw(t, s.URL, "")
	c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	one := strings.Repeat("GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n", 1000)
	for { // until the member takes no more
		if _, err := io.WriteString(c, one); err != nil {
			break
		}
	}
	require.Eventually(t, func() bool { return http.ConnState(state.Load()) == http.StateClosed }, 5*time.Second, 10*time.Millisecond, "the connection is %v for ever", http.ConnState(state.Load()))
}

// bulky is the answer to a batch of 64 events, each with an output of a MiB.
func (g *group) bulky(t *testing.T) *http.Response {
	big := make([]byte, 1<<20)
	g.members["a"].batch = func(evs []standby.Event) []standby.Result {
		res := make([]standby.Result, len(evs))
		for i := range res {
			res[i].Receipt = standby.Receipt{Seq: 1, Link: chain.Hash{1}, Outputs: 1, OutputData: [][]byte{big}}
		}
		return res
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", g.urls["a"]+"/v1/events", strings.NewReader(strings.Repeat("{\"payload\":\"x\"}\n", 64)))
	require.NoError(t, err)
	ndjson(req)
	resp, err := g.tr.RoundTrip(req)
	require.NoError(t, err)
	return resp
}

// A reader that takes what is written is not cut off, however much it is.
func TestSteadyReaderIsNotCut(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{WriteTimeout: 2 * time.Second}})
	resp := g.bulky(t)
	defer resp.Body.Close()
	var err error
	b := make([]byte, 256<<10)
	lines, n := 0, 0
	for err == nil {
		var k int
		k, err = io.ReadFull(resp.Body, b)
		n += k
		lines += strings.Count(string(b[:k]), "\n")
		time.Sleep(10 * time.Millisecond) // a two-hundredth of the patience, which in all is over long before
	}
	if err == io.ErrUnexpectedEOF && lines == 64 {
		err = nil
	}
	require.Equal(t, 64, lines, "%d bytes, %v", n, err)
}

// The names of producers are bounded like all that a batch holds.
func TestLongProducers(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	most := 0
	a := g.members["a"]
	a.batch = func(evs []standby.Event) []standby.Result {
		n := 0
		for i := range evs {
			n += len(evs[i].Producer) + len(evs[i].Payload)
		}
		most = max(most, n)
		res := make([]standby.Result, len(evs))
		for i := range res {
			res[i].Err = standby.ErrBadEvent
		}
		return res
	}
	line := `{"producer":"` + strings.Repeat("p", 6<<20) + `","sequence":1,"payload":""}` + "\n"
	res := g.call("a", "POST", "/v1/events", strings.Repeat(line, 20), ndjson)
	require.Len(t, res.lines(), 20)
	require.LessOrEqual(t, most, wire.MaxBatchBytes+wire.MaxEventLine(1<<20))
}

// Those who watch take no places of those who deliver.
func TestWatchersShutOutNoEvents(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{MaxStreams: 4}})
	for range 4 {
		_, resp, _ := g.open("a", "/v1/watch")
		require.Equal(t, 200, resp.StatusCode)
	}
	res := g.call("a", "POST", "/v1/events", `{"payload":"x"}`, ndjson)
	require.Equal(t, http.StatusOK, res.status, "%s", res.body)
}

// Over HTTP/2 a stream of events on which nothing happens goes on.
func TestIdleStreamOverHTTP2(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	h, err := httpapi.New(httpapi.Config{Group: g.members["a"], Insecure: true, Limits: httpapi.Limits{WriteTimeout: 100 * time.Millisecond}})
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	body, more := io.Pipe()
	defer more.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/events", body)
	require.NoError(t, err)
	ndjson(req)
	go io.WriteString(more, "{\"payload\":\"1\"}\n")
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 2, resp.ProtoMajor)
	lines := wire.NewLines(resp.Body, wire.MaxResultLine)
	for n := range 3 {
		line, _, err := lines.Next()
		require.NoError(t, err)
		r, err := wire.ParseResult(line)
		require.NoError(t, err)
		require.NoError(t, r.Err)
		require.EqualValues(t, n+1, r.Receipt.Seq)
		time.Sleep(300 * time.Millisecond) // the silence is what is tested
		go io.WriteString(more, "{\"payload\":\"more\"}\n")
	}
}
