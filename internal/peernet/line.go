package peernet

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// line is a connection that Raft dialled. Raft keeps its connections for as
// long as it likes and notices only by a failed request that one is dead: after
// a member has come back, the first vote that it is asked for would be lost. A
// line looks before each request, and takes another connection then.
type line struct {
	s        *streamLayer
	to       string
	conn     atomic.Pointer[Conn]
	asked    bool // a request is under way: its answer comes over the same connection
	deadline time.Time
	closed   atomic.Bool
}

func (l *line) now() Conn { return *l.conn.Load() }

func (l *line) Write(b []byte) (int, error) {
	if l.s.muted.Load() {
		return 0, errMuted
	}
	if !l.asked && !l.closed.Load() && l.now().Dead() {
		c, err := l.s.connect(l.to, handshakeTimeout)
		if err != nil {
			return 0, err
		}
		c.SetDeadline(l.deadline)
		l.now().Close()
		l.conn.Store(&c)
		if l.closed.Load() {
			c.Close()
		}
	}
	l.asked = true
	return l.now().Write(b)
}

func (l *line) Read(b []byte) (int, error) {
	n, err := l.now().Read(b)
	if n > 0 {
		l.asked = false
	}
	return n, err
}

func (l *line) Close() error {
	l.s.lines.remove(l)
	return l.cut()
}

func (l *line) cut() error {
	l.closed.Store(true)
	return l.now().Close()
}

func (l *line) SetDeadline(t time.Time) error {
	l.deadline = t
	return l.now().SetDeadline(t)
}

func (l *line) LocalAddr() net.Addr                { return l.now().LocalAddr() }
func (l *line) RemoteAddr() net.Addr               { return l.now().RemoteAddr() }
func (l *line) SetReadDeadline(t time.Time) error  { return l.now().SetReadDeadline(t) }
func (l *line) SetWriteDeadline(t time.Time) error { return l.now().SetWriteDeadline(t) }

// lines are the open ones of a transport.
type lines struct {
	mu   sync.Mutex
	open map[*line]struct{}
	over bool
}

// add refuses a line once all were hung up.
func (s *lines) add(l *line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*line]struct{})
	}
	if !s.over {
		s.open[l] = struct{}{}
	}
	return !s.over
}

func (s *lines) remove(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, l)
}

func (s *lines) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for l := range s.open {
		l.cut()
	}
}

// spares are connections made before they are needed, one for each other
// member: a vote must not wait for a handshake.
type spares struct {
	mu   sync.Mutex
	have map[string]Conn
	want map[string]chan struct{}
}

// take gives the spare connection away, if there is a living one.
func (s *spares) take(to string) Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.have[to]
	delete(s.have, to)
	if want := s.want[to]; want != nil {
		select {
		case want <- struct{}{}:
		default:
		}
	}
	if c != nil && c.Dead() {
		c.Close()
		c = nil
	}
	return c
}

// keep keeps a spare connection to a member until done.
func (s *spares) keep(n Network, to string, done <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-done; cancel() }()
	s.mu.Lock()
	want := make(chan struct{}, 1)
	s.want[to] = want
	s.mu.Unlock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		c := s.have[to]
		s.mu.Unlock()
		if c == nil || c.Dead() {
			try, stop := context.WithTimeout(ctx, handshakeTimeout)
			fresh, err := n.Dial(try, to, Raft)
			stop()
			if err == nil {
				s.put(to, fresh)
			}
		}
		select {
		case <-want:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	s.drop(to)
}

func (s *spares) put(to string, c Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.have[to]; old != nil {
		old.Close()
	}
	s.have[to] = c
}

func (s *spares) drop(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.have[to]; c != nil {
		c.Close()
		delete(s.have, to)
	}
}

// connect takes the spare connection, or makes one.
func (s *streamLayer) connect(to string, timeout time.Duration) (Conn, error) {
	if s.muted.Load() {
		return nil, errMuted
	}
	if c := s.spares.take(to); c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.n.Dial(ctx, to, Raft)
}

func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if timeout == 0 {
		timeout = handshakeTimeout
	}
	c, err := s.connect(string(addr), timeout)
	if err != nil {
		return nil, err
	}
	l := &line{s: s, to: string(addr)}
	l.conn.Store(&c)
	if !s.lines.add(l) {
		l.cut()
		return nil, ErrHungUp
	}
	return l, nil
}
