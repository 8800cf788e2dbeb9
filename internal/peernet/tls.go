package peernet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/pki"
)

// Bounds of the real network.
const (
	maxPeerConns = 64 // per member and protocol: calls, which clients cause, shut out no Raft
	alpnPrefix   = "understudy-"
	alpnSuffix   = "/1"
)

// Config is a member's place in the real network.
type Config struct {
	Identity Identity
	Roster   chain.Roster
	Key      chain.Keypair     // log key
	Listen   string            // host:port
	Peers    map[string]string // member -> host:port
	TLS      *pki.Member
	Memory   durable.FS // remembers the peers' stores
	Logger   *slog.Logger
	Traffic  *Traffic // counts what goes over the wire; may be nil
}

type tlsNet struct {
	cfg    Config
	gate   *gate
	ln     net.Listener
	queues queues
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  map[*tlsConn]bool
	perM   map[kind]int
	knocks knocks
	closed bool
	lost   losses
}

// kind is what connections are counted by.
type kind struct{ member, proto string }

type tlsConn struct {
	*tls.Conn
	n     *tlsNet
	peer  Identity
	proto string
	once  sync.Once
	done  atomic.Bool // closed by this side
}

func (c *tlsConn) Peer() Identity { return c.peer }
func (c *tlsConn) Dead() bool     { return c.done.Load() || dead(c.NetConn()) }

func (c *tlsConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !c.done.Load() {
		c.n.lost.note(c.peer.Member, err)
	}
	return n, err
}

func (c *tlsConn) Close() error {
	c.done.Store(true)
	c.once.Do(func() { c.n.forget(c) })
	return c.Conn.Close()
}

// Listen joins the network.
func Listen(cfg Config) (Network, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g, err := newGate(cfg.Identity, cfg.Key, cfg.Roster, cfg.Memory)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("the members' address cannot be listened on: %w", err)
	}
	n := &tlsNet{
		cfg: cfg, gate: g, ln: ln,
		conns: make(map[*tlsConn]bool), perM: make(map[kind]int),
		lost: newLosses(),
	}
	n.queues.addr = ln.Addr()
	n.wg.Add(1)
	go n.accept()
	return n, nil
}

func alpn(proto string) string { return alpnPrefix + proto + alpnSuffix }

func (n *tlsNet) accept() {
	defer n.wg.Done()
	for {
		c, err := n.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: others must close first
			continue
		}
		n.knocks.add(c)
		n.wg.Add(1)
		go func() {
			defer n.wg.Done()
			if err := n.admit(c); err != nil {
				n.cfg.Logger.Debug("peer connection refused", "from", c.RemoteAddr(), "err", err)
			}
		}()
	}
}

func (n *tlsNet) admit(raw net.Conn) error {
	keepAlive(raw)
	raw.SetDeadline(time.Now().Add(handshakeTimeout))
	id := n.cfg.Identity
	tc := tls.Server(n.cfg.Traffic.on(raw), n.cfg.TLS.Config(id.Group, id.Origin, "", []string{alpn(Raft), alpn(RPC)}))
	c, err := n.greet(tc, "")
	n.knocks.remove(raw)
	if err != nil {
		raw.Close()
		return err
	}
	if err := n.add(c); err != nil {
		raw.Close()
		return err
	}
	n.queues.get(c.proto).put(c)
	return nil
}

// greet does TLS and the hello on a new connection.
func (n *tlsNet) greet(tc *tls.Conn, want string) (*tlsConn, error) {
	if err := tc.Handshake(); err != nil {
		return nil, err
	}
	st := tc.ConnectionState()
	if st.NegotiatedProtocol == "" {
		return nil, errors.New("no protocol was agreed on")
	}
	binding, err := st.ExportKeyingMaterial("EXPORTER-understudy-hello", nil, 32)
	if err != nil {
		return nil, err
	}
	peer, err := n.gate.shake(tc, want, binding)
	if err != nil {
		return nil, err
	}
	proto := st.NegotiatedProtocol[len(alpnPrefix) : len(st.NegotiatedProtocol)-len(alpnSuffix)]
	return &tlsConn{Conn: tc, n: n, peer: peer, proto: proto}, nil
}

func (n *tlsNet) add(c *tlsConn) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := kind{c.peer.Member, c.proto}
	switch {
	case n.closed:
		return net.ErrClosed
	case n.perM[k] >= maxPeerConns:
		return fmt.Errorf("there are %d connections with %s for %s already: some must end before", maxPeerConns, k.member, k.proto)
	}
	n.conns[c] = true
	n.perM[k]++
	return nil
}

func (n *tlsNet) forget(c *tlsConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[c] {
		delete(n.conns, c)
		n.perM[kind{c.peer.Member, c.proto}]--
	}
}

func keepAlive(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: 2 * time.Second, Count: 3})
	}
}

func (n *tlsNet) Listener(proto string) net.Listener { return n.queues.get(proto) }

func (n *tlsNet) Dial(ctx context.Context, member, proto string) (Conn, error) {
	addr, ok := n.cfg.Peers[member]
	if !ok {
		return nil, fmt.Errorf("no address for member %q", member)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	keepAlive(raw)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	id := n.cfg.Identity
	c, err := n.greet(tls.Client(n.cfg.Traffic.on(raw), n.cfg.TLS.Config(id.Group, id.Origin, member, []string{alpn(proto)})), member)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = n.add(c)
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("member %s at %s: %w", member, addr, err)
	}
	return c, nil
}

func (n *tlsNet) Refusals() []Refusal { return n.gate.recent() }

func (n *tlsNet) Close() error {
	n.mu.Lock()
	n.closed = true
	var all []*tlsConn
	for c := range n.conns {
		all = append(all, c)
	}
	n.mu.Unlock()
	err := n.ln.Close()
	n.knocks.close()
	n.queues.close()
	for _, c := range all {
		c.Close()
	}
	n.wg.Wait()
	return err
}
