package httpapi_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// A bad line between good ones is told in its place; those before and after
// have their own outcomes.
func TestBadLineInTheMiddle(t *testing.T) {
	for _, member := range []string{"a", "b"} {
		g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{MaxEventBytes: 100}})
		body := strings.Join([]string{
			`{"producer":"p","sequence":1,"payload":"one"}`,
			`{"producer":"p","sequence":2,"payload":"two"`,
			``,
			`{"producer":"p","sequence":2,"payload":"two"}`,
			`{"producer":"p","sequence":3,"payload":"` + strings.Repeat("x", 101) + `"}`,
			`{"producer":"p","sequence":3,"payload":"` + strings.Repeat("x", 5000) + `"}`,
			`{"producer":"p","sequence":4,"payload":"four"}`,
			`{"producer":"p","sequence":3,"payload":"three"}`,
		}, "\n") // the last line has no newline
		res := g.call(member, "POST", "/v1/events", body, ndjson)
		require.Equal(t, http.StatusOK, res.status)
		require.Equal(t, wire.NDJSON, res.header.Get("Content-Type"))
		var got []string
		for _, line := range res.lines() {
			r, err := wire.ParseResult(line)
			require.NoError(t, err, "%s", line)
			if r.Err != nil {
				got = append(got, string(wire.ProblemOf(r.Err).Code))
				continue
			}
			got = append(got, fmt.Sprint(r.Receipt.Sequence))
		}
		require.Equal(t, []string{"1", "bad_request", "2", "too_large", "too_large", "gap", "3"}, got)
		require.Equal(t, []string{"one", "two", "three"}, g.all.applied)
	}
}

// A body of any number of lines is taken, batch by batch.
func TestManyLines(t *testing.T) {
	const n = 5000
	for _, member := range []string{"a", "b"} {
		g := newGroup(t, httpapi.Config{})
		var most int
		a := g.members["a"]
		a.batch = func(evs []standby.Event) []standby.Result {
			most = max(most, len(evs))
			res := make([]standby.Result, len(evs))
			a.all.change(func() {
				for i := range evs {
					res[i].Receipt, res[i].Err = a.deliver(&evs[i])
				}
			})
			return res
		}
		var body []byte
		for i := range n {
			body = wire.AppendEvent(body, &standby.Event{Producer: "p", Sequence: uint64(i + 1), Payload: fmt.Append(nil, i)})
		}
		res := g.call(member, "POST", "/v1/events", string(body), ndjson)
		require.Len(t, res.lines(), n)
		for i, line := range res.lines() {
			r, err := wire.ParseResult(line)
			require.NoError(t, err)
			require.NoError(t, r.Err)
			require.EqualValues(t, i+1, r.Receipt.Sequence)
		}
		require.Equal(t, wire.MaxBatch, most, "a batch is full and no more")
		require.Len(t, g.all.applied, n)
	}
}

func TestOversizeBodies(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{MaxEventBytes: 1000, MaxQueryBytes: 1000}})
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/v1/events", `{"payload":"` + strings.Repeat("x", 1000) + `"}`, 200},
		{"/v1/events", `{"payload":"` + strings.Repeat(`\u0041`, 1000) + `"}`, 200},
		{"/v1/events", `{"payload":"` + strings.Repeat("x", 1001) + `"}`, 413},
		{"/v1/events", `{"payload":"` + strings.Repeat("x", 300_000) + `"}`, 413},
		{"/v1/query", strings.Repeat("x", 1000), 200},
		{"/v1/query", strings.Repeat("x", 1001), 413},
		{"/v1/sync", "{" + strings.Repeat(" ", 5000) + "}", 413},
		{"/v1/switchover", `{"to":"` + strings.Repeat("b", 5000) + `"}`, 413},
	} {
		for _, member := range []string{"a", "b"} {
			res := g.call(member, "POST", c.path, c.body)
			require.Equal(t, c.status, res.status, "%s %.20s", c.path, c.body)
			if c.status == 413 {
				require.Equal(t, wire.TooLarge, res.problem(t).Code)
			}
		}
	}
}

// raw speaks HTTP byte by byte.
func raw(t *testing.T, url, request string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	return c, bufio.NewReader(c)
}

// A body that does not come is not waited for: the caller is told, where one
// is to be told, and the connection ends. Nothing of it happened.
func TestSlowBody(t *testing.T) {
	g := newGroup(t, httpapi.Config{Tokens: tokens, Limits: httpapi.Limits{Timeout: 300 * time.Millisecond, IdleTimeout: 300 * time.Millisecond}})
	for _, c := range []struct {
		path, header string
		status       int // 0: the connection ends without an answer
	}{
		{"/v1/events", "Authorization: Bearer deliverer-0123456789\r\n", 408},
		{"/v1/query", "Authorization: Bearer reader-0123456789\r\n", 408},
		{"/v1/sync", "Authorization: Bearer operator-0123456789\r\n", 408},
		{"/v1/sync", "", 401},
		{"/v1/nothing", "", 404},
		{"/v1/events", "Authorization: Bearer deliverer-0123456789\r\nContent-Type: application/x-ndjson\r\n", 0},
	} {
		for _, framing := range []string{"Content-Length: 1000\r\n\r\n{\"payload\":", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"} {
			conn, r := raw(t, g.urls["a"], "POST "+c.path+" HTTP/1.1\r\nHost: localhost\r\n"+c.header+framing)
			resp, err := http.ReadResponse(r, nil)
			if c.status == 0 {
				require.Error(t, err)
			} else {
				require.NoError(t, err, c.path)
				require.Equal(t, c.status, resp.StatusCode, c.path)
				_, err = io.Copy(io.Discard, resp.Body)
				require.NoError(t, err)
			}
			_, err = r.ReadByte()
			require.Error(t, err, "the connection of a body that did not come in full")
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			conn.Close()
		}
	}
	require.Empty(t, g.all.applied)
}

// What stopped in the middle of a line is not an event, and its stream does
// not look as if it had ended.
func TestCutBody(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{IdleTimeout: 300 * time.Millisecond}})
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	_, r := raw(t, g.urls["a"], "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"+
		chunk("{\"payload\":\"whole\"}\n")+chunk("{\"payload\":\"half\"}"))
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	lines := wire.NewLines(resp.Body, 1<<20)
	line, whole, err := lines.Next()
	require.NoError(t, err)
	require.True(t, whole)
	res, err := wire.ParseResult(line)
	require.NoError(t, err)
	require.NoError(t, res.Err)
	_, _, err = lines.Next()
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	require.Equal(t, []string{"whole"}, g.all.applied)
}

// A connection serves one stream after the other, between members too: the end
// of one is not taken for the end of the connection.
func TestStreamsOnOneConnection(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, member := range []string{"a", "b"} {
		for i := range 500 {
			res := g.call(member, "POST", "/v1/events", "{\"payload\":\"x\"}\n{\"payload\":\"y\"}\n", ndjson)
			for _, line := range res.lines() {
				r, err := wire.ParseResult(line)
				require.NoError(t, err)
				require.NoError(t, r.Err, "stream %d", i)
			}
		}
	}
}

// Receipts come as soon as the group has them, while the body goes on.
func TestStreamAnswersAsItGoes(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, member := range []string{"a", "b"} {
		pr, pw := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", g.urls[member]+"/v1/events", pr)
		require.NoError(t, err)
		ndjson(req)
		got := make(chan *http.Response, 1)
		go func() {
			defer close(got)
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				got <- resp
			}
		}()
		var lines *wire.Lines
		var resp *http.Response
		for i := range 3 {
			_, err = io.WriteString(pw, fmt.Sprintf("{\"payload\":\"%d\"}\n", i))
			require.NoError(t, err)
			if resp == nil {
				resp = <-got
				require.NotNil(t, resp)
				lines = wire.NewLines(resp.Body, 1<<20)
			}
			line, _, err := lines.Next()
			require.NoError(t, err)
			r, err := wire.ParseResult(line)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(r.Receipt.OutputData[0]))
		}
		pw.Close()
		_, _, err = lines.Next()
		require.ErrorIs(t, err, io.EOF)
		resp.Body.Close()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// Every outcome of an event has its code and status, alone and as a line, here
// and through another member; only what may have happened is uncertain.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   wire.Code
		status int
		is     error
	}{
		{&standby.UncertainError{Reason: "test"}, wire.Uncertain, 504, standby.ErrUncertain},
		{&standby.BusyError{RetryAfter: 1500 * time.Millisecond}, wire.Busy, 429, standby.ErrBusy},
		{&standby.GapError{Expected: 4}, wire.Gap, 409, standby.ErrGap},
		{&standby.NotActiveError{}, wire.NotActive, 503, standby.ErrNotActive},
		{standby.ErrTooLarge, wire.TooLarge, 413, standby.ErrTooLarge},
		{standby.ErrBadEvent, wire.BadRequest, 400, standby.ErrBadEvent},
		{standby.ErrSessionExpired, wire.SessionExpired, 410, standby.ErrSessionExpired},
		{standby.ErrOldDuplicate, wire.OldDuplicate, 409, standby.ErrOldDuplicate},
		{standby.ErrNumberTaken, wire.NumberTaken, 409, standby.ErrNumberTaken},
		{standby.ErrClosed, wire.Closed, 503, standby.ErrClosed},
		{errors.New("disk"), wire.Internal, 500, nil},
	} {
		t.Run(string(c.code), func(t *testing.T) {
			g := newGroup(t, httpapi.Config{})
			g.members["a"].batch = func(evs []standby.Event) []standby.Result {
				res := make([]standby.Result, len(evs))
				for i := range res {
					res[i].Err = c.err
				}
				return res
			}
			for _, member := range []string{"a", "b"} {
				res := g.call(member, "POST", "/v1/events", `{"payload":"x"}`)
				require.Equal(t, c.status, res.status)
				p := res.problem(t)
				require.Equal(t, c.code, p.Code)
				if c.is != nil {
					require.ErrorIs(t, &p, c.is)
				}
				require.Equal(t, c.code == wire.Uncertain, errors.Is(&p, standby.ErrUncertain))
				if c.code == wire.Busy {
					require.Equal(t, "2", res.header.Get("Retry-After"))
					require.EqualValues(t, 1500, p.RetryAfterMS)
				}
				res = g.call(member, "POST", "/v1/events", `{"payload":"x"}`, ndjson)
				require.Equal(t, http.StatusOK, res.status)
				var line wire.Problem
				require.NoError(t, json.Unmarshal(res.body, &line))
				require.Equal(t, p.Code, line.Code)
				require.Equal(t, p.Expected, line.Expected)
			}
		})
	}
}

// A connection between members that breaks after the events left makes them
// uncertain; one that could not be made, does not. The answers that came count.
func TestBrokenForward(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	answers := 0
	g.peers["a"] = strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for i := range answers {
			w.Write(wire.AppendResult(nil, &standby.Result{Receipt: standby.Receipt{Seq: uint64(i + 1), Link: [32]byte{1}}}))
		}
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})), "http://")
	three := "{\"payload\":\"1\"}\n{\"payload\":\"2\"}\n{\"payload\":\"3\"}\n"
	for answers = range 3 {
		res := g.call("b", "POST", "/v1/events", three, ndjson)
		require.Len(t, res.lines(), 3)
		for i, line := range res.lines() {
			r, err := wire.ParseResult(line)
			require.NoError(t, err)
			if i < answers {
				require.NoError(t, r.Err)
				continue
			}
			require.ErrorIs(t, r.Err, standby.ErrUncertain)
		}
	}
	ports, err := local.ReservePorts(1)
	require.NoError(t, err)
	defer ports.Release()
	gone := ports.Addrs[0]
	cut := strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})), "http://")
	for _, c := range []struct {
		path, body, active string
		code               wire.Code
	}{
		{"/v1/sync", "", cut, wire.Uncertain},
		{"/v1/switchover", "", cut, wire.Uncertain},
		{"/v1/step-down", "", cut, wire.Uncertain},
		{"/v1/query", "x", cut, wire.NotActive}, // it changes nothing
		{"/v1/events", `{"payload":"x"}`, gone, wire.NotActive},
		{"/v1/switchover", "", gone, wire.NotActive},
		{"/v1/query", "x", gone, wire.NotActive},
	} {
		g.peers["a"] = c.active
		p := g.call("b", "POST", c.path, c.body).problem(t)
		require.Equal(t, c.code, p.Code, c.path)
	}
}

// An active that was frozen or cut off says nothing. Who waits for it through
// another member is told as soon as that knows the next one.
func TestForwardToAFrozenActive(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{Timeout: 10 * time.Minute}})
	asked, thaw := make(chan struct{}, 8), make(chan struct{})
	defer close(thaw)
	g.peers["a"] = strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		select {
		case <-thaw:
		case <-r.Context().Done():
		}
	})), "http://")
	for _, c := range []struct {
		path, body string
		code       wire.Code
	}{
		{"/v1/events", `{"payload":"x"}`, wire.Uncertain},
		{"/v1/query", "x", wire.NotActive}, // it changes nothing
	} {
		g.all.change(func() { g.all.active = "a" })
		go func() {
			<-asked
			g.all.change(func() { g.all.active = "c" })
		}()
		p := g.call("b", "POST", c.path, c.body).problem(t)
		require.Equal(t, c.code, p.Code, c.path)
		require.Contains(t, p.Text, "c became active before a answered", c.path)
	}
}

// A switchover that is asked for through a third member succeeds also if the
// new active takes more than a moment: that another member leads is what it is for.
func TestForwardedSwitchover(t *testing.T) {
	g := newGroup(t, httpapi.Config{Limits: httpapi.Limits{Timeout: 10 * time.Minute}})
	g.peers["a"] = strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		g.all.change(func() { g.all.active = "c" }) // it leads and is promoted meanwhile
		select {
		case <-time.After(4500 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"from":"a","to":"c","term":2}`)
	})), "http://")
	g.all.change(func() { g.all.active = "a" })
	r := g.call("b", "POST", "/v1/switchover", "")
	require.Equal(t, http.StatusOK, r.status, "%s", r.body)
}
