package peernet

import (
	"net"
	"sync"
)

// queue is the listener of one protocol: connections that passed the hello
// wait in it to be accepted.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn, 16), done: make(chan struct{})}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// put hands a connection over, or closes it if nobody accepts any more.
func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		c.Close()
	}
	select {
	case <-q.done: // closed meanwhile: nobody takes out what was put in
		q.drain()
	default:
	}
}

func (q *queue) Close() error {
	q.once.Do(func() {
		close(q.done)
		q.drain()
	})
	return nil
}

func (q *queue) drain() {
	for {
		select {
		case c := <-q.conns:
			c.Close()
		default:
			return
		}
	}
}

func (q *queue) Addr() net.Addr { return q.addr }

// queues are a network's listeners, opened again when asked for after a close.
type queues struct {
	mu   sync.Mutex
	addr net.Addr
	open map[string]*queue
	shut bool
}

func (s *queues) get(proto string) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.open[proto]
	if q != nil {
		select {
		case <-q.done:
			q = nil
		default:
		}
	}
	if q == nil {
		q = newQueue(s.addr)
		if s.shut {
			q.Close()
		}
		if s.open == nil {
			s.open = make(map[string]*queue)
		}
		s.open[proto] = q
	}
	return q
}

func (s *queues) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	for _, q := range s.open {
		q.Close()
	}
}
