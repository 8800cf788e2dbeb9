package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

var idle = flag.Int("idle", 2000, "idle connections of the test that holds many")

// api is where a member speaks to clients.
func (m *member) api() string { return strings.TrimPrefix(m.url, "http://") }

// resident is a member's memory in bytes, 0 where the system does not tell.
func (m *member) resident() int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.Pid()))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kb, _ := strconv.Atoi(f[1])
			return kb << 10
		}
	}
	return 0
}

// bounded gives a check that no member's memory has grown by more.
func (s *stage) bounded(most int) (check func()) {
	before := make(map[*member]int)
	for _, m := range s.members {
		before[m] = m.resident()
	}
	return func() {
		s.t.Helper()
		for _, m := range s.members {
			if grown := m.resident() - before[m]; before[m] > 0 && !raced {
				require.Lessf(s.t, grown, most, "the memory of %s grew from %d bytes", m.name, before[m])
			}
		}
	}
}

// Whatever strangers send to whatever port, before TLS or after it with a
// certificate of their own, no member falters, and the group serves.
func TestHostileBytes(t *testing.T) {
	s := newStage(t, plan{daemon: "kv", events: 6000})
	s.busy(1000)
	check := s.bounded(96 << 20)
	random := make([]byte, 64<<10)
	for i := range random {
		random[i] = byte(s.rng.Uint32())
	}
	rubbish := [][]byte{
		nil, {0}, random, bytes.Repeat([]byte{0xff}, 1<<20), []byte("GET / HTTP/1.1\r\n\r\n"), []byte("\r\n\r\n\r\n"),
		append([]byte{0x16, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff}, random...), // a TLS hello of 16 MiB
		append([]byte("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n"), random...),
		append([]byte("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"), random...),
		append([]byte("GET /"), bytes.Repeat([]byte("a"), 1<<20)...),
		append([]byte("GET / HTTP/1.1\r\n"), bytes.Repeat([]byte("X: y\r\n"), 100_000)...),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []byte("POST /v1/switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"to\":1234"),
	}
	wrong := s.strangers()
	for _, m := range s.members {
		for _, addr := range []string{m.api(), m.peer} {
			for _, b := range rubbish {
				throw(t, addr, b)
			}
		}
		for _, cfg := range wrong {
			for _, b := range [][]byte{nil, random, {0, 0xff, 0xff, 0xff, 0xff}} {
				c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", m.peer, cfg)
				if err != nil {
					continue // refused within the handshake
				}
				c.SetDeadline(time.Now().Add(patience))
				c.Write(b)
				_, err = io.Copy(io.Discard, c) // TLS 1.3 tells of a refused certificate at the first read
				require.Error(t, err, "a stranger is let in")
				c.Close()
			}
		}
		for _, name := range []string{"/v1/status", "/active"} {
			resp, err := plain.Get(m.url + name)
			require.NoError(t, err)
			resp.Body.Close()
		}
	}
	s.busy(1000)
	check()
	s.finish()
}

// throw sends bytes and does not care what becomes of them.
func throw(t *testing.T, addr string, b []byte) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	require.NoError(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(300 * time.Millisecond)) // some answers wait for more
	c.Write(b)
	io.Copy(io.Discard, io.LimitReader(c, 64<<10))
}

// strangers are TLS configurations of those who are not of this group.
func (s *stage) strangers() []*tls.Config {
	s.t.Helper()
	dir := filepath.Join(s.dir, "stranger")
	require.NoError(s.t, os.MkdirAll(dir, 0o700))
	ca, err := pki.NewCA("stage", time.Now())
	require.NoError(s.t, err)
	require.NoError(s.t, ca.Issue(durable.OS(dir), "stage", s.founding.Origin(), "a", time.Now()))
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "member.pem"), filepath.Join(dir, "member.key"))
	require.NoError(s.t, err)
	var out []*tls.Config
	for _, proto := range []string{"understudy-raft/1", "understudy-rpc/1", "h2"} {
		base := tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}} // whom it attacks does not matter to it
		mine := base.Clone()
		mine.Certificates = []tls.Certificate{cert} // of another authority with the same names
		old := mine.Clone()
		old.MaxVersion = tls.VersionTLS12
		out = append(out, base.Clone(), mine, old)
	}
	return out
}

// Thousands of connections that say nothing, or next to nothing, on every port
// cost a bounded amount of memory; the group serves, and fails over, among them.
func TestIdleConnections(t *testing.T) {
	slow(t)
	s := newStage(t, plan{daemon: "ledger", events: 6000})
	s.busy(1000)
	check := s.bounded(64<<20 + *idle*48<<10)
	ctx, cancel := context.WithCancel(s.ctx)
	var held []net.Conn
	t.Cleanup(func() {
		cancel()
		for _, c := range held {
			c.Close()
		}
	})
	for i := range *idle {
		m := s.members[i%3]
		addr, say := m.api(), "GET /v1/status HTTP/1.1\r\nHost:"
		if i%2 == 0 {
			addr, say = m.peer, "\x16\x03\x01\x02\x00\x01"
		}
		c, err := net.DialTimeout("tcp", addr, patience)
		require.NoErrorf(t, err, "connection %d", i)
		held = append(held, c)
		if i%4 < 2 {
			io.WriteString(c, say) // and never the rest
		}
	}
	// Whoever is thrown out comes again.
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			if c, err := net.DialTimeout("tcp", s.members[i%3].peer, time.Second); err == nil {
				context.AfterFunc(ctx, func() { c.Close() })
			}
			time.Sleep(2 * time.Millisecond) // 500 a second
		}
	}()
	s.busy(1000)
	check()
	for range 2 {
		victim, st := s.active()
		s.kill(victim)
		s.after(st.Term)
		s.start(victim)
		s.healthy()
		s.busy(800)
	}
	s.finish()
}

// What is too large is refused before it is taken in, and what is slow waits
// alone.
func TestOversizedAndSlowRequests(t *testing.T) {
	s := newStage(t, plan{daemon: "kv", events: 3000})
	s.busy(500)
	check := s.bounded(160 << 20)
	active, _ := s.active()
	for _, m := range []*member{active, s.standby()} {
		big := strings.Repeat("x", 3<<20)
		for i := range 10 {
			_, err := post(s.ctx, m.url, event(fmt.Sprintf("big-%s", m.name), 1, big))
			require.ErrorIs(t, err, standby.ErrTooLarge, "try %d", i)
		}
		for _, call := range []struct{ path, body string }{
			{"/v1/query", big}, {"/v1/switchover", `{"to":"` + big + `"}`}, {"/v1/sync", big}, {"/v1/step-down", big},
			{"/v1/events", `{"payload":"` + strings.Repeat("x", 12<<20) + `"}`},
		} {
			resp, err := plain.Post(m.url+call.path, "application/json", strings.NewReader(call.body))
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode, call.path)
		}
		// A line that does not end: 96 MiB of it go by, and the next one is served.
		endless := io.MultiReader(strings.NewReader(`{"payload":"`), io.LimitReader(zeros{}, 96<<20),
			bytes.NewReader(append([]byte("\n"), lines(evs(event("patient-"+m.name, 1, "put patient 1")))...)))
		resp, err := plain.Post(m.url+"/v1/events", wire.NDJSON, endless)
		require.NoError(t, err)
		res, err := results(resp, 2)
		resp.Body.Close()
		require.NoError(t, err)
		require.ErrorIs(t, res[0].Err, standby.ErrTooLarge)
		require.NoError(t, res[1].Err)
	}
	check()
	var others []sent
	for _, m := range s.members {
		settled := s.settle(evs(event("patient-"+m.name, 1, "put patient 1")))
		others = append(others, settled...)
		slow, err := dial(s.ctx, m.url)
		require.NoError(t, err)
		ev := event("slow-"+m.name, 1, "put slow 1")
		for _, b := range lines(evs(ev)) {
			require.NoError(t, slow.send([]byte{b}))
		}
		late := slow.end(1)
		require.Len(t, late, 1)
		require.NoError(t, late[0].Err)
		others = append(others, sent{ev, late[0].Receipt})
	}
	s.finish(others...)
}

// zeros is the digit without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}
