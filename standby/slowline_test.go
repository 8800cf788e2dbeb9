package standby

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/peernet"
)

// slowLine is a member's network over a line that all calls of its own and all
// answers share.
type slowLine struct {
	peernet.Network
	line chan struct{} // whose turn it is
	rate int           // bytes a second
}

func (s *slowLine) Dial(ctx context.Context, member, proto string) (peernet.Conn, error) {
	c, err := s.Network.Dial(ctx, member, proto)
	if err != nil || proto != peernet.RPC {
		return c, err
	}
	return &slowConn{c, s}, nil
}

func (s *slowLine) Listener(proto string) net.Listener {
	l := s.Network.Listener(proto)
	if proto != peernet.RPC {
		return l
	}
	return &slowListener{l, s}
}

type slowListener struct {
	net.Listener
	line *slowLine
}

func (l *slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{c.(peernet.Conn), l.line}, nil
}

type slowConn struct {
	peernet.Conn
	slow *slowLine
}

func (c *slowConn) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		piece := b[n:min(n+16<<10, len(b))]
		c.slow.line <- struct{}{}
		time.Sleep(time.Duration(len(piece)) * time.Second / time.Duration(c.slow.rate))
		<-c.slow.line
		var k int
		k, err = c.Conn.Write(piece)
		n += k
	}
	return n, err
}

// A line on which a chunk takes more than half a minute, and one after another
// longer than any watchdog waits, brings a checkpoint nevertheless.
func TestCheckpointOverASlowLine(t *testing.T) {
	simulate(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // what is on the line ends
		c := newCluster(t, 3, func() host.Daemon { return &bulky{} }, func(cfg *Config) {
			cfg.SyncInterval = time.Hour
			network := cfg.Env.Network
			cfg.Env.Network = func(id peernet.Identity, memory durable.FS, log *slog.Logger) (peernet.Network, error) {
				n, err := network(id, memory, log)
				return &slowLine{n, make(chan struct{}, 1), 200 << 10}, err
			}
		})
		c.must("p", 1, "x")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err := c.active().Sync(ctx)
		require.NoError(t, err)
		for _, name := range c.others(c.active().cfg.Member) {
			g := c.members[name].group()
			c.eventually(name+" has it", func() bool { return g.node.Load().replica.restoredSeq.Load() > 0 })
			require.Zero(t, g.hung.Load())
			require.Empty(t, g.notes.reason)
		}
		c.check()
	})
}

// A member that begins no answer, or does not go on with one, is given up.
func TestSilentMemberIsGivenUp(t *testing.T) {
	simulate(t, func(t *testing.T) {
		hold := make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/half" {
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
			}
			<-hold
		})}
		ends := &pipes{make(chan net.Conn), make(chan struct{})}
		go server.Serve(ends)
		p := &peers{httpc: &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			ends.c <- b
			return a, nil
		}}}}
		for path, silence := range map[string]time.Duration{"/none": fetchBegin, "/half": fetchSilence} {
			start := time.Now()
			_, err := p.fetch(t.Context(), "a", path, 10, func() {})
			require.ErrorIs(t, err, errSilent)
			require.Equal(t, silence, time.Since(start), path)
		}
		close(hold)
		require.NoError(t, server.Close())
	})
}

// pipes is a listener that gives out one end of each pipe.
type pipes struct {
	c      chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.c:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// A dead member costs its time once, and not for each chunk.
func TestDeadSourceIsAskedLast(t *testing.T) {
	sources := []string{"dead", "b", "c"}
	var asked []string
	ask := func(member string) error {
		asked = append(asked, member)
		if member == "dead" {
			return errors.New("no answer")
		}
		return nil
	}
	for range 3 {
		require.NoError(t, fromAny(t.Context(), sources, ask))
	}
	require.Equal(t, []string{"dead", "b", "b", "b"}, asked)
	err := fromAny(t.Context(), []string{"dead"}, ask)
	require.ErrorContains(t, err, "no answer")
	require.ErrorContains(t, fromAny(t.Context(), nil, ask), "no member has it")
}
