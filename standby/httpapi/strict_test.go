package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// An operation that says more than is understood is not done.
func TestOperationsAreStrict(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, c := range []struct{ path, body string }{
		{"/v1/switchover?to=c", ""},
		{"/v1/step-down?hold_ms=1", ""},
		{"/v1/sync?x=1", ""},
		{"/v1/switchover", `{"to":"b","to":"c"}`},
		{"/v1/switchover", `{"to":"b","TO":"c"}`},
		{"/v1/switchover", `{"to":"b"}}`},
		{"/v1/switchover", `null`},
	} {
		res := g.call("a", "POST", c.path, c.body)
		t.Log(c.path, c.body, res.status, string(res.body))
		if res.status != 400 {
			t.Errorf("%s %s: %d", c.path, c.body, res.status)
		}
	}
	require.Equal(t, 400, g.call("a", "GET", "/metrics?x=1", "").status)
}

// A page of another site can have a browser ask for nothing.
func TestPagesOfOtherSites(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, path := range []string{"/v1/status", "/v1/watch?limit=1", "/v1/outputs"} {
		res := g.call("a", "GET", path, "", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Origin", "http://evil.example")
		})
		if res.status != 403 {
			t.Errorf("%s: %d", path, res.status)
		}
	}
}

// A stream whose header has left is broken off, too.
func TestPanicAfterTheHeaderBreaksItOff(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	m := &panicky{fake: g.members["a"]}
	h, err := httpapi.New(httpapi.Config{Group: m})
	require.NoError(t, err)
	url := serve(t, h)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/outputs?follow=1", nil)
	resp, err := g.tr.RoundTrip(req)
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.Error(t, err, "%d %s", resp.StatusCode, b)
}

// A caller cannot pass for a member in the log.
func TestForgedForward(t *testing.T) {
	var log bytes.Buffer
	g := newGroup(t, httpapi.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	g.call("a", "POST", "/v1/sync", "", func(r *http.Request) { r.Header.Set(wire.HeaderForwarded, "b") })
	require.NotContains(t, log.String(), "from=b")
}

// Who asked for an operation is in a log, through whichever member.
func TestForwardedOperationIsTraceable(t *testing.T) {
	var log bytes.Buffer
	g := newGroup(t, httpapi.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	local := ""
	h, err := httpapi.New(httpapi.Config{Group: g.members["b"], Forward: g, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { local = r.RemoteAddr; h.ServeHTTP(w, r) }))
	g.urls["b"] = url
	res := g.call("b", "POST", "/v1/sync", "")
	require.Equal(t, 200, res.status)
	require.Contains(t, log.String(), local)
}

type panicky struct{ *fake }

func (p *panicky) Outputs(context.Context, uint64) iter.Seq2[chain.Output, error] { panic("test") }

// An operation has no number to be sent again with: who does not know whether it
// happened is told where to look, also by a member that only forwards.
func TestUncertainOperationSaysWhereToLook(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	g.peers["a"] = strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})), "http://")
	for _, path := range []string{"/v1/sync", "/v1/switchover", "/v1/step-down"} {
		p := g.call("b", "POST", path, "").problem(t)
		require.Equal(t, wire.Uncertain, p.Code, path)
		require.Equal(t, "see status and history", p.Remedy, path)
	}
	p := g.call("b", "POST", "/v1/events", `{"payload":"x"}`).problem(t)
	require.Equal(t, wire.Uncertain, p.Code)
	require.Contains(t, p.Remedy, "resend")

	h, err := httpapi.New(httpapi.Config{Group: &doubtful{g.members["a"]}})
	require.NoError(t, err)
	g.urls["a"] = serve(t, h)
	p = g.call("a", "POST", "/v1/sync", "").problem(t)
	require.Equal(t, wire.Uncertain, p.Code)
	require.Equal(t, "see status and history", p.Remedy)
}

// doubtful does not know whether its checkpoint was sealed.
type doubtful struct{ *fake }

func (d *doubtful) Sync(context.Context) (standby.SyncResult, error) {
	return standby.SyncResult{}, &standby.UncertainError{Reason: "test"}
}
