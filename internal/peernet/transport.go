package peernet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Deadlines and bounds on Raft's connections.
const (
	messageTimeout = 5 * time.Second  // without a byte inside a request
	idleTimeout    = 10 * time.Minute // between requests
	maxMessage     = 384 << 20        // bytes of one request: a state image with a full journal fits
	poolSize       = 3
)

// NewTransport is Raft's transport over a network. Addresses are member names.
// Heartbeats take the same way as everything else: handled beside the main
// loop they can change its term under its feet, and an entry is then written
// under a term in which it was never proposed (hashicorp/raft issue 695).
// There is one request in flight per member: pipelining can deadlock
// (issue 612).
//
// It keeps a connection ready to each of the others.
func NewTransport(n Network, self string, others []string, timeout time.Duration, logger hclog.Logger) *Transport {
	t := &Transport{self: self, rpcs: make(chan raft.RPC), done: make(chan struct{})}
	t.stream = newStreamLayer(n, self, &t.muted)
	for _, m := range others {
		go t.stream.spares.keep(n, m, t.done)
	}
	t.NetworkTransport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  t.stream,
		MaxPool:                 poolSize,
		MaxRPCsInFlight:         1,
		Timeout:                 timeout,
		Logger:                  logger,
		MsgpackUseNewTimeFormat: true,
	})
	go t.pass()
	return t
}

// Transport keeps Raft from handling heartbeats on the connections'
// goroutines, and can have it stand for election at once.
type Transport struct {
	*raft.NetworkTransport
	self   string
	stream *streamLayer
	rpcs   chan raft.RPC
	once   sync.Once
	done   chan struct{}
	muted  atomic.Bool
}

// SetHeartbeatHandler does nothing, so that heartbeats go through the main loop.
func (t *Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Consumer is where Raft takes what it is asked.
func (t *Transport) Consumer() <-chan raft.RPC { return t.rpcs }

func (t *Transport) pass() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.rpcs <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// Mute takes this member's Raft off the network, or puts it back. It reports
// whether that changed anything.
func (t *Transport) Mute(on bool) bool {
	if t.muted.Swap(on) == on {
		return false
	}
	if on {
		t.CloseStreams()
	}
	return true
}

// ErrHungUp is what Raft's requests end with after [Transport.HangUp].
var ErrHungUp = errors.New("this member's raft ends")

var errMuted = errors.New("this member is off the network: its disk or state machine hangs")

// StandForElection has this member's own Raft instance begin an election now,
// as if the leader had handed over to it. The others then vote although they
// know a leader: only for when that one is known to be gone.
func (t *Transport) StandForElection(ctx context.Context) {
	t.tell(ctx, &raft.TimeoutNowRequest{RPCHeader: headerOf(t.self)})
}

// LeaveTerm has this member's own Raft instance, a candidate that nobody
// elected, follow again and enter the next term: it is asked for a vote there
// for another voter with an empty log, which it refuses. It would stay a
// candidate of its term for an election timeout else. A leader is not moved.
func (t *Transport) LeaveTerm(ctx context.Context, other string, term uint64) {
	t.tell(ctx, &raft.RequestVoteRequest{RPCHeader: headerOf(other), Term: term + 1})
}

func headerOf(member string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(member), Addr: []byte(member)}
}

// tell hands a request to Raft as if it had come over the network.
func (t *Transport) tell(ctx context.Context, command any) {
	select {
	case t.rpcs <- raft.RPC{Command: command, RespChan: make(chan raft.RPCResponse, 1)}:
	case <-t.done:
	case <-ctx.Done():
	}
}

// HangUp ends the requests that Raft waits for, and lets it make no others. For
// when it has been told to end: it waits for them else, up to the timeout.
func (t *Transport) HangUp() { t.stream.lines.hangUp() }

// Close ends the transport. Raft must have ended before.
func (t *Transport) Close() error {
	t.once.Do(func() { close(t.done) })
	return t.NetworkTransport.Close()
}

type name string

func (n name) Network() string { return "understudy" }
func (n name) String() string  { return string(n) }

type streamLayer struct {
	n      Network
	self   string
	ln     net.Listener
	muted  *atomic.Bool
	spares spares
	lines  lines
}

func newStreamLayer(n Network, self string, muted *atomic.Bool) *streamLayer {
	return &streamLayer{
		n: n, self: self, ln: n.Listener(Raft), muted: muted,
		spares: spares{have: make(map[string]Conn), want: make(map[string]chan struct{})},
	}
}

func (s *streamLayer) Accept() (net.Conn, error) {
	c, err := s.ln.Accept()
	if err != nil {
		return nil, err
	}
	return &guarded{Conn: c, muted: s.muted}, nil
}

func (s *streamLayer) Close() error   { return s.ln.Close() }
func (s *streamLayer) Addr() net.Addr { return name(s.self) }

// guarded is an accepted connection with what Raft's transport lacks: a
// deadline inside a message but not between messages, and a bound on its size.
type guarded struct {
	net.Conn
	muted    *atomic.Bool
	mu       sync.Mutex
	inside   bool // a request has begun and is not answered
	received int64
}

func (c *guarded) Read(b []byte) (int, error) {
	c.mu.Lock()
	if !c.inside {
		c.Conn.SetReadDeadline(time.Now().Add(idleTimeout))
	} else {
		c.Conn.SetReadDeadline(time.Now().Add(messageTimeout))
	}
	over := c.received > maxMessage
	c.mu.Unlock()
	if over {
		return 0, fmt.Errorf("a message of more than %d bytes: %w", maxMessage, io.ErrShortBuffer)
	}
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.inside = true
		c.received += int64(n)
	}
	return n, err
}

// Write is our answer: the message is over.
func (c *guarded) Write(b []byte) (int, error) {
	if c.muted.Load() {
		return 0, errMuted
	}
	c.Conn.SetWriteDeadline(time.Now().Add(messageTimeout))
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	c.inside, c.received = false, 0
	c.mu.Unlock()
	return n, err
}
