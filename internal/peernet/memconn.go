package peernet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pipe is one direction of a connection.
type pipe struct {
	sent    chan []byte // written, on its way
	arrived chan []byte
	once    sync.Once
	done    chan struct{}
}

func newPipe() *pipe {
	return &pipe{sent: make(chan []byte, 64), arrived: make(chan []byte, 64), done: make(chan struct{})}
}

func (p *pipe) close() { p.once.Do(func() { close(p.done) }) }

type memConn struct {
	n        *memNet
	from, to string
	peer     Identity
	in, out  *pipe
	rest     []byte
	rd, wd   deadline
	done     atomic.Bool // closed by this side
}

// carry moves one message over the wire; false when the connection ended.
func (c *memConn) carry(m []byte) bool {
	if c.n.s.loses() {
		c.out.close()
		c.in.close()
		return false
	}
	for {
		cut, wait, wake := c.n.s.state(c.from, c.to)
		if !cut {
			if wait > 0 {
				t := time.NewTimer(wait)
				select {
				case <-t.C:
				case <-c.out.done:
					t.Stop()
					return false
				}
			}
			select {
			case c.out.arrived <- m:
				return true
			case <-c.out.done:
				return false
			}
		}
		select {
		case <-wake:
		case <-c.out.done:
			return false
		}
	}
}

func (c *memConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.in.arrived:
		default:
			select {
			case c.rest = <-c.in.arrived:
			case <-c.in.done:
				if !c.done.Load() {
					c.n.lost.note(c.to, io.EOF)
				}
				return 0, io.EOF
			case <-c.rd.wait():
				return 0, os.ErrDeadlineExceeded
			}
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *memConn) Write(b []byte) (int, error) {
	select {
	case <-c.out.done:
		return 0, io.ErrClosedPipe
	default:
	}
	select {
	case c.out.sent <- append([]byte(nil), b...):
		return len(b), nil
	case <-c.out.done:
		return 0, io.ErrClosedPipe
	case <-c.wd.wait():
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *memConn) Close() error {
	c.done.Store(true)
	c.in.close()
	c.out.close()
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return nil
}

func (c *memConn) Peer() Identity { return c.peer }
func (c *memConn) Dead() bool {
	select {
	case <-c.in.done:
		return true
	default:
		return false
	}
}
func (c *memConn) LocalAddr() net.Addr  { return name(c.from) }
func (c *memConn) RemoteAddr() net.Addr { return name(c.to) }
func (c *memConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *memConn) SetReadDeadline(t time.Time) error  { c.rd.set(t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.wd.set(t); return nil }

// deadline is a channel that closes when its time has come.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	ch    chan struct{}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ch == nil {
		d.ch = make(chan struct{})
	}
	return d.ch
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() || d.timer == nil && d.closed() {
		d.ch = nil // it came already: those who wait from now on have a new one
	}
	d.timer = nil
	if d.ch == nil {
		d.ch = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	ch := d.ch
	if left := time.Until(t); left <= 0 {
		close(ch)
	} else {
		d.timer = time.AfterFunc(left, func() { close(ch) })
	}
}

func (d *deadline) closed() bool {
	if d.ch == nil {
		return false
	}
	select {
	case <-d.ch:
		return true
	default:
		return false
	}
}
