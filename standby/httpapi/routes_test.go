package httpapi_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// route is a call that succeeds, who may make it, and what its answer has.
type route struct {
	method, path, body string
	roles              string // who may
	forwarded          bool   // only the active can do it
	stream             bool   // its answer is lines
	has                string
}

var routes = []route{
	{"POST", "/v1/events", `{"producer":"p","sequence":1,"payload":"x"}`, "deliver operate", true, false, `"sequence":1`},
	{"GET", "/v1/session?producer=p", "", "deliver operate", true, false, `"known":`},
	{"POST", "/v1/query", "x", "read operate", true, false, "re: x"},
	{"POST", "/v1/query?stale=1", "x", "read operate", false, false, "re: x"},
	{"POST", "/v1/sync", "", "operate", true, false, `"seq":9`},
	{"POST", "/v1/switchover", `{"to":"b"}`, "operate", true, false, `"to":"b"`},
	{"POST", "/v1/step-down", `{"hold_ms":5}`, "operate", true, false, `"hold_ms":5`},
	{"GET", "/v1/proof?old=1", "", "read deliver operate audit", true, false, "proof\n"},
	{"GET", "/v1/tree-head", "", "read deliver operate audit", true, false, "tree head\n"},
	{"GET", "/v1/outputs?from=1&limit=1", "", "read operate", false, true, ""},
	{"GET", "/v1/watch?limit=1", "", "read deliver operate audit", false, true, `"active":"a"`},
	{"GET", "/v1/status", "", "read deliver operate audit", false, false, `"active":"a"`},
	{"GET", "/v1/history?limit=1", "", "read deliver operate audit", false, false, `"promotions":[{`},
	{"GET", "/v1/head?size=3", "", "read deliver operate audit", false, false, "\n"},
	{"GET", "/v1/founding", "", "read deliver operate audit", false, false, ""},
	{"GET", "/metrics", "", "read deliver operate audit", false, false, "understudy_active"},
}

// Any member takes any call; what only the active can do is passed on.
func TestEveryRouteOnEveryMember(t *testing.T) {
	for _, r := range routes {
		for _, member := range []string{"a", "b"} {
			t.Run(r.method+" "+r.path+" on "+member, func(t *testing.T) {
				g := newGroup(t, httpapi.Config{})
				res := g.call(member, r.method, r.path, r.body)
				require.Equal(t, http.StatusOK, res.status, "%s", res.body)
				require.Contains(t, string(res.body), r.has)
				require.Equal(t, member, res.header.Get(wire.HeaderVia), "the member that took the call")
				require.Equal(t, "a", res.header.Get(wire.HeaderActive))
				require.Equal(t, "no-store", res.header.Get("Cache-Control"))
				require.Equal(t, "nosniff", res.header.Get("X-Content-Type-Options"))
				if strings.HasPrefix(r.path, "/v1/query") {
					want := member
					if r.forwarded {
						want = "a"
					}
					require.Equal(t, []string{"5", "7", want}, []string{res.header.Get(wire.HeaderSeq), res.header.Get(wire.HeaderTerm), res.header.Get(wire.HeaderMember)})
				}
			})
		}
	}
}

// The contract names every call.
func TestRoutesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	for _, r := range routes {
		path, _, _ := strings.Cut(r.path, "?")
		require.Regexp(t, "(?m)^\\| `"+r.method+" "+path+"[`\\[?]", string(doc))
	}
}

// Without an active, or with one that cannot be reached, nothing happened and
// the answer says so.
func TestNoActive(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for active, wait := range map[string]bool{"": true, "z": true} {
		g.all.change(func() { g.all.active = active })
		for _, r := range routes {
			res := g.call("b", r.method, r.path, r.body)
			if !r.forwarded {
				require.Equal(t, http.StatusOK, res.status, r.path)
				continue
			}
			require.Equal(t, http.StatusServiceUnavailable, res.status, r.path)
			p := res.problem(t)
			require.Equal(t, wire.NotActive, p.Code)
			require.Equal(t, active, p.Active)
			require.Equal(t, wait, res.header.Get("Retry-After") != "")
		}
	}
	require.Empty(t, g.all.applied)
}

// A member that another one takes for the active does not pass the call on:
// calls make one hop, and none goes round.
func TestOneHop(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	g.members["a"].follows, g.members["b"].follows, g.members["c"].follows = "c", "a", "c"
	for _, r := range routes {
		if r.forwarded {
			res := g.call("b", r.method, r.path, r.body)
			require.Equal(t, http.StatusServiceUnavailable, res.status, r.path)
			require.Equal(t, wire.NotActive, res.problem(t).Code)
		}
	}
}

func TestOtherMethodsAndPaths(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, r := range routes {
		path, _, _ := strings.Cut(r.path, "?")
		for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			if m == r.method {
				continue
			}
			res := g.call("a", m, path, "")
			require.Equal(t, http.StatusMethodNotAllowed, res.status, "%s %s", m, path)
			require.Equal(t, wire.BadMethod, res.problem(t).Code)
			require.Contains(t, res.header.Get("Allow"), r.method)
			require.NotContains(t, res.header.Get("Allow"), m)
		}
	}
	for _, path := range []string{"/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1/events/x", "/metrics/x", "/v1/Status"} {
		res := g.call("a", "GET", path, "")
		require.Equal(t, http.StatusNotFound, res.status, path)
		require.Equal(t, wire.NotFound, res.problem(t).Code)
	}
}

// HEAD gives what GET gives without its body, and ends at once on a stream.
func TestHead(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, r := range routes {
		if r.method != "GET" {
			continue
		}
		for _, member := range []string{"a", "b"} {
			path := strings.NewReplacer("&limit=1", "&follow=1", "/watch?limit=1", "/watch").Replace(r.path)
			res := g.call(member, "HEAD", path, "")
			require.Equal(t, http.StatusOK, res.status, path)
			require.Empty(t, res.body)
			require.NotEmpty(t, res.header.Get("Content-Type"), path)
			if r.stream {
				require.Equal(t, wire.NDJSON, res.header.Get("Content-Type"))
			}
		}
	}
}

// What could be read in two ways, or means nothing, is refused.
func TestBadParametersAndBodies(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/status?x=1", ""},
		{"GET", "/v1/outputs?from=-1", ""},
		{"GET", "/v1/outputs?from=1&from=2", ""},
		{"GET", "/v1/outputs?follow=maybe", ""},
		{"GET", "/v1/outputs?limit=x", ""},
		{"GET", "/v1/outputs?from=%zz", ""},
		{"GET", "/v1/outputs?from=1;limit=1", ""},
		{"GET", "/v1/watch?limit=1.5", ""},
		{"GET", "/v1/history?limit=0", ""},
		{"GET", "/v1/history?limit=1001", ""},
		{"GET", "/v1/head?size=18446744073709551616", ""},
		{"GET", "/v1/proof", ""},
		{"GET", "/v1/proof?old=0", ""},
		{"GET", "/v1/session", ""},
		{"GET", "/v1/session?producer=", ""},
		{"GET", "/v1/founding?x", ""},
		{"POST", "/v1/query?stale=2", "x"},
		{"POST", "/v1/switchover", `{"To":"b","to":"c"`},
		{"POST", "/v1/switchover", `{"until":"b"}`},
		{"POST", "/v1/switchover", `{"to":"b"}{"to":"c"}`},
		{"POST", "/v1/switchover", `["b"]`},
		{"POST", "/v1/step-down", `{"hold_ms":-1}`},
		{"POST", "/v1/step-down", `{"hold_ms":3600001}`},
		{"POST", "/v1/sync", `{"now":true}`},
		{"POST", "/v1/events?x=1", `{"payload":"x"}`},
		{"POST", "/v1/events", ``},
		{"POST", "/v1/events", `x`},
		{"POST", "/v1/events", `{"payload":"x","payload_base64":"eA=="}`},
		{"POST", "/v1/events", `{"payload":"x","extra":1}`},
		{"POST", "/v1/events", "{\"payload\":\"x\"}\n{\"payload\":\"y\"}"},
	} {
		for _, member := range []string{"a", "b"} {
			res := g.call(member, c.method, c.path, c.body)
			require.Equal(t, http.StatusBadRequest, res.status, "%s %s %s: %s", c.method, c.path, c.body, res.body)
			require.Equal(t, wire.BadRequest, res.problem(t).Code)
		}
	}
	require.Empty(t, g.all.applied)
}

func TestRefusals(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/switchover", `{"to":"nobody"}`},
		{"POST", "/v1/query", "no"},
		{"GET", "/v1/head?size=100", ""},
	} {
		for _, member := range []string{"a", "b"} {
			res := g.call(member, c.method, c.path, c.body)
			require.Equal(t, http.StatusConflict, res.status, "%s %s", c.method, c.path)
			require.Equal(t, wire.Refused, res.problem(t).Code)
		}
	}
}

// A panic within is answered, and the member goes on.
func TestPanicIsContained(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	g.members["a"].tweak = func(st *standby.Status) { panic("test") }
	res := g.call("a", "GET", "/v1/status", "")
	require.Equal(t, http.StatusInternalServerError, res.status)
	require.Equal(t, wire.Internal, res.problem(t).Code)
	require.NotContains(t, string(res.body), "goroutine")
	g.members["a"].tweak = nil
	var st standby.Status
	require.NoError(t, json.Unmarshal(g.call("a", "GET", "/v1/status", "").body, &st))
	require.Equal(t, "a", st.Member)
}

// A panic in the middle of an answer breaks it off: what would come after could
// pass for a part of it.
func TestPanicAfterHalfAnAnswerBreaksItOff(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	member := g.members["a"]
	member.batch = func(evs []standby.Event) []standby.Result {
		if string(evs[0].Payload) == "2" {
			panic("test")
		}
		return []standby.Result{{Receipt: standby.Receipt{Seq: 1, Link: [32]byte{1}}}}
	}
	body, more := io.Pipe()
	defer more.Close()
	req, err := http.NewRequest("POST", g.urls["a"]+"/v1/events", body)
	require.NoError(t, err)
	ndjson(req)
	go io.WriteString(more, "{\"payload\":\"1\"}\n")
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	first, err := lines.ReadBytes('\n')
	require.NoError(t, err)
	r, err := wire.ParseResult(first)
	require.NoError(t, err)
	require.NoError(t, r.Err)
	go io.WriteString(more, "{\"payload\":\"2\"}\n")
	rest, err := io.ReadAll(lines)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Empty(t, string(rest))
}

// A list without anything in it is a list.
func TestHistoryOfAYoungGroup(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	g.all.change(func() { g.all.active = "" })
	require.JSONEq(t, `{"promotions": []}`, string(g.call("b", "GET", "/v1/history", "").body))
}
