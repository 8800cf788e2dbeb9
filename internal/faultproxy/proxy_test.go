package faultproxy_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/internal/faultproxy"
	"github.com/understudy-ha/understudy/internal/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a target that sends back what it gets.
func echo(t *testing.T) (addr string, accepted chan net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted = make(chan net.Conn, 16)
	done := make(chan struct{})
	t.Cleanup(func() {
		ln.Close()
		<-done
		for len(accepted) > 0 {
			(<-accepted).Close()
		}
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return ln.Addr().String(), accepted
}

func proxy(t *testing.T, target string) *faultproxy.Proxy {
	p, err := faultproxy.New("127.0.0.1:0", target)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func dial(t *testing.T, p *faultproxy.Proxy) *net.TCPConn {
	c, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, s string) {
	_, err := c.Write([]byte(s))
	require.NoError(t, err)
}

func hear(t *testing.T, c net.Conn, s string) {
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, len(s))
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	require.Equal(t, s, string(b))
}

func silent(t *testing.T, c net.Conn) {
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestPassesInOrderAndToTheEnd(t *testing.T) {
	addr, _ := echo(t)
	c := dial(t, proxy(t, addr))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	go func() {
		c.Write(sent)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	require.NoError(t, err, "an orderly end stays one")
	require.True(t, bytes.Equal(sent, got))
}

func TestCutHoldsEachDirectionAlone(t *testing.T) {
	addr, accepted := echo(t)
	for _, d := range []faultproxy.Direction{faultproxy.Forward, faultproxy.Back} {
		p := proxy(t, addr)
		c := dial(t, p)
		say(t, c, "one")
		hear(t, c, "one")
		<-accepted
		p.SetRule(d, faultproxy.Rule{Cut: true})
		say(t, c, "two")
		silent(t, c)
		fresh := dial(t, p)
		say(t, fresh, "new")
		silent(t, fresh)
		if d == faultproxy.Forward {
			require.Empty(t, accepted, "the target hears nothing of a new connection")
			fresh.Close() // given up: it never happened
			require.Eventually(t, func() bool { return p.Conns() == 1 }, 30*time.Second, time.Millisecond)
		}
		p.SetRule(d, faultproxy.Rule{})
		hear(t, c, "two")
		if d == faultproxy.Back {
			hear(t, fresh, "new")
			<-accepted
		}
		say(t, c, "three")
		hear(t, c, "three")
		require.Empty(t, accepted)
	}
}

func TestDelayAndRate(t *testing.T) {
	addr, _ := echo(t)
	p := proxy(t, addr)
	c := dial(t, p)
	say(t, c, "x")
	hear(t, c, "x")
	p.SetRule(faultproxy.Forward, faultproxy.Rule{Delay: 60 * time.Millisecond})
	p.SetRule(faultproxy.Back, faultproxy.Rule{Delay: 40 * time.Millisecond})
	start := time.Now()
	say(t, c, "x")
	hear(t, c, "x")
	require.GreaterOrEqual(t, time.Since(start), 100*time.Millisecond)

	p.SetRule(faultproxy.Forward, faultproxy.Rule{})
	p.SetRule(faultproxy.Back, faultproxy.Rule{Rate: 1 << 20})
	start = time.Now()
	go c.Write(make([]byte, 256<<10))
	_, err := io.ReadFull(c, make([]byte, 256<<10))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), 240*time.Millisecond)
}

func TestResetsAreResets(t *testing.T) {
	addr, accepted := echo(t)
	p := proxy(t, addr)
	reset := func(c net.Conn) {
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	refused := func(p *faultproxy.Proxy) {
		c, err := net.Dial("tcp", p.Addr())
		if err == nil {
			defer c.Close()
			reset(c)
			return
		}
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	c := dial(t, p)
	say(t, c, "x")
	hear(t, c, "x")
	p.SetRule(faultproxy.Forward, faultproxy.Rule{Reset: true})
	reset(c)
	refused(p)
	p.SetRule(faultproxy.Forward, faultproxy.Rule{})
	<-accepted
	c = dial(t, p)
	say(t, c, "x")
	hear(t, c, "x")
	target := (<-accepted).(*net.TCPConn)
	target.SetLinger(0)
	target.Close() // as the kernel of a killed process does
	reset(c)

	ports, err := local.ReservePorts(1)
	require.NoError(t, err)
	defer ports.Release()
	refused(proxy(t, ports.Addrs[0]))
}

// What one member sends to another is cut on the connections of both.
func TestMesh(t *testing.T) {
	addrs := make(map[string]string)
	for _, name := range []string{"a", "b", "c"} {
		addrs[name], _ = echo(t)
	}
	m, err := faultproxy.NewMesh(addrs)
	require.NoError(t, err)
	defer m.Close()
	conns := make(map[[2]string]net.Conn)
	for from := range addrs {
		peers := m.Peers(from)
		require.Equal(t, addrs[from], peers[from])
		for to := range addrs {
			if to == from {
				continue
			}
			c, err := net.Dial("tcp", peers[to])
			require.NoError(t, err)
			defer c.Close()
			say(t, c, "x")
			hear(t, c, "x")
			conns[[2]string{from, to}] = c
		}
	}
	for _, cut := range []func(faultproxy.Rule){
		func(r faultproxy.Rule) { m.In("a", r) },
		func(r faultproxy.Rule) { m.Out("a", r) },
		func(r faultproxy.Rule) { m.Set("b", "a", r); m.Set("a", "c", r) },
	} {
		cut(faultproxy.Rule{Cut: true})
		for pair, c := range conns {
			say(t, c, "y")
			if pair[0] == "a" || pair[1] == "a" {
				silent(t, c)
			} else {
				hear(t, c, "y")
			}
		}
		m.All(faultproxy.Rule{})
		for pair, c := range conns {
			if pair[0] == "a" || pair[1] == "a" {
				hear(t, c, "y")
			}
		}
	}
}
