package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

func (g *group) happen(payloads ...string) {
	g.all.change(func() {
		for _, p := range payloads {
			g.members["a"].deliver(&standby.Event{Payload: []byte(p)})
		}
	})
}

func numbers(t *testing.T, r *reply) (ns []uint64) {
	if len(r.body) == 0 {
		return nil
	}
	for _, line := range r.lines() {
		var out chain.Output
		require.NoError(t, json.Unmarshal(line, &out), "%s", line)
		ns = append(ns, out.Number)
	}
	return ns
}

// Outputs are resumed at any number; without follow they end with what there is.
func TestOutputsResume(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	require.Empty(t, numbers(t, g.call("b", "GET", "/v1/outputs", "")))
	g.happen("1", "2", "3", "4")
	for query, want := range map[string][]uint64{
		"": {1, 2, 3, 4}, "?from=0": {1, 2, 3, 4}, "?from=3": {3, 4}, "?from=2&limit=2": {2, 3},
		"?from=5": nil, "?from=50": nil, "?from=1&limit=2&follow=1": {1, 2}, "?follow=0&from=4": {4},
	} {
		res := g.call("b", "GET", "/v1/outputs"+query, "")
		require.Equal(t, http.StatusOK, res.status)
		require.Equal(t, wire.NDJSON, res.header.Get("Content-Type"))
		require.Equal(t, want, numbers(t, res), query)
	}
}

func TestOutputsPruned(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	g.happen("1", "2", "3", "4")
	g.all.change(func() { g.all.pruned = 2 })
	res := g.call("b", "GET", "/v1/outputs?from=2", "")
	require.Equal(t, http.StatusGone, res.status)
	p := res.problem(t)
	require.Equal(t, wire.Pruned, p.Code)
	require.EqualValues(t, 3, p.Oldest)
	require.Equal(t, []uint64{3, 4}, numbers(t, g.call("b", "GET", "/v1/outputs?from=3", "")))
}

// open begins to read a stream; the test reads its lines.
func (g *group) open(member, path string) (*wire.Lines, *http.Response, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", g.urls[member]+path, nil)
	require.NoError(g.t, err)
	tr := &http.Transport{}
	resp, err := tr.RoundTrip(req)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { cancel(); resp.Body.Close(); tr.CloseIdleConnections() })
	return wire.NewLines(resp.Body, 1<<20), resp, cancel
}

// A stream that follows begins at once, goes on as outputs come, and tells in
// a line when the next one is gone.
func TestOutputsFollow(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	lines, resp, _ := g.open("b", "/v1/outputs?follow=1")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	for i := range 5 {
		g.happen(fmt.Sprint(i))
		line, _, err := lines.Next()
		require.NoError(t, err)
		var out chain.Output
		require.NoError(t, json.Unmarshal(line, &out))
		require.EqualValues(t, i+1, out.Number)
		require.Equal(t, fmt.Sprint(i), string(out.Payload))
	}
	g.all.change(func() { g.all.pruned = 9 })
	line, _, err := lines.Next()
	require.NoError(t, err)
	var p wire.Problem
	require.NoError(t, json.Unmarshal(line, &p))
	require.Equal(t, wire.Pruned, p.Code)
	require.EqualValues(t, 10, p.Oldest)
	_, _, err = lines.Next()
	require.ErrorIs(t, err, io.EOF)
}

// Each change is told; the stream ends with its request and gives its place back.
func TestWatchEndsWithTheRequest(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{MaxStreams: 1}})
	for range 3 {
		lines, _, cancel := g.open("b", "/v1/watch")
		for _, active := range []string{"a", "b", "", "a"} {
			g.all.change(func() { g.all.active = active })
			require.Eventually(t, func() bool {
				line, _, err := lines.Next()
				require.NoError(t, err)
				var st standby.Status
				require.NoError(t, json.Unmarshal(line, &st))
				return st.Active == active
			}, time.Minute, time.Microsecond)
		}
		res := g.call("b", "GET", "/v1/watch", "")
		require.Equal(t, http.StatusTooManyRequests, res.status, "the only place is taken")
		require.Equal(t, wire.Busy, res.problem(t).Code)
		require.NotEmpty(t, res.header.Get("Retry-After"))
		cancel()
		require.Eventually(t, func() bool {
			return g.call("b", "GET", "/v1/watch?limit=1", "").status == http.StatusOK
		}, time.Minute, 5*time.Millisecond)
	}
}

// On a stream on which nothing happens an empty line comes now and then.
func TestHeartbeat(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{Heartbeat: 10 * time.Millisecond}})
	for _, path := range []string{"/v1/watch", "/v1/outputs?follow=1"} {
		_, resp, _ := g.open("b", path)
		b := make([]byte, 1)
		last := byte(0)
		for beats := 0; beats < 3; {
			_, err := io.ReadFull(resp.Body, b)
			require.NoError(t, err)
			if b[0] == '\n' && (last == '\n' || last == 0) {
				beats++
			}
			last = b[0]
		}
	}
}

// A reader that takes nothing loses its stream: it does not hold its place.
func TestReaderThatDoesNotRead(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{MaxStreams: 1, WriteTimeout: 200 * time.Millisecond}})
	big := string(make([]byte, 1<<20))
	for range 32 {
		g.happen(big)
	}
	_, resp, _ := g.open("b", "/v1/outputs")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Eventually(t, func() bool {
		return g.call("b", "GET", "/v1/watch?limit=1", "").status == http.StatusOK
	}, 30*time.Second, 10*time.Millisecond, "sooner than the reader gives up")
	_, err := io.Copy(io.Discard, resp.Body)
	require.Error(t, err, "it does not look complete")
}

// To a member that is cut off no more outputs come, and it says nothing but that
// it is alive. Who follows them there is sent away.
func TestMemberThatIsCutOffEndsItsOutputs(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{Heartbeat: time.Millisecond}})
	g.happen("1", "2")
	g.all.change(func() { g.all.active = "" })
	for from, outputs := range map[string]int{"1": 2, "3": 0} {
		res := g.call("b", "GET", "/v1/outputs?follow=1&from="+from, "")
		var lines [][]byte
		for _, line := range res.lines() {
			if len(line) > 0 { // no heartbeat
				lines = append(lines, line)
			}
		}
		require.Len(t, lines, outputs+1)
		var p wire.Problem
		require.NoError(t, json.Unmarshal(lines[outputs], &p))
		require.Equal(t, wire.NotActive, p.Code)
	}
}

// Receipts with many outputs are written as they are made, not put together for
// the whole batch, and nothing of them is kept while the stream waits.
func TestReceiptsAreNotPutTogether(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resp := g.bulky(t)
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Greater(t, n, int64(64<<20))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20), "half of what went out")
}
