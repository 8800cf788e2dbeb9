package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Bounds of what a connection keeps on its way.
const (
	chunkSize = 16 << 10
	chunks    = 64
)

// link is one connection through a proxy.
type link struct {
	p      *Proxy
	ctx    context.Context
	cancel context.CancelFunc
	once   sync.Once
	mu     sync.Mutex
	ends   []*net.TCPConn // who dialled, then the target once it is reached
}

// chunk is what was read at once, or how the reading ended.
type chunk struct {
	data []byte
	err  error
	at   time.Time
}

func newLink(p *Proxy, c *net.TCPConn) *link {
	l := &link{p: p, ends: []*net.TCPConn{c}}
	l.ctx, l.cancel = context.WithCancel(p.ctx)
	return l
}

// reset ends both sides as a dead process's kernel does.
func (l *link) reset() { l.end(true) }

func (l *link) end(reset bool) {
	l.once.Do(func() {
		l.cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.ends {
			if reset {
				c.SetLinger(0)
			}
			c.Close()
		}
	})
}

func (l *link) serve() {
	defer l.reset()
	client := l.ends[0]
	forward := make(chan chunk, chunks)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.reset()
	gone := make(chan struct{}) // who dialled has given up
	wg.Go(func() {
		l.read(client, forward)
		close(gone)
	})
	if !l.open(gone) {
		return
	}
	target, err := l.dial()
	if err != nil {
		return
	}
	back := make(chan chunk, chunks)
	wg.Go(func() { l.read(target, back) })
	done := make(chan bool, 2)
	wg.Go(func() { done <- l.write(Forward, target, forward) })
	wg.Go(func() { done <- l.write(Back, client, back) })
	if first := <-done; first && <-done { // after an orderly end the other way may go on
		l.end(false)
	}
}

// open waits until a new connection may reach the target.
func (l *link) open(gone <-chan struct{}) bool {
	for {
		r, changed := l.p.rule(Forward)
		if !r.Cut {
			return true
		}
		select {
		case <-changed:
		case <-gone:
			return false
		case <-l.ctx.Done():
			return false
		}
	}
}

func (l *link) dial() (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.p.target)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return nil, errors.Join(l.ctx.Err(), c.Close())
	}
	l.ends = append(l.ends, c.(*net.TCPConn))
	return c.(*net.TCPConn), nil
}

// read takes bytes with the time of their arrival until the source ends.
func (l *link) read(c *net.TCPConn, to chan<- chunk) {
	for {
		buf := make([]byte, chunkSize)
		n, err := c.Read(buf)
		if n > 0 && !l.put(to, chunk{data: buf[:n], at: time.Now()}) {
			return
		}
		if err != nil {
			l.put(to, chunk{err: err, at: time.Now()})
			return
		}
	}
}

func (l *link) put(to chan<- chunk, c chunk) bool {
	select {
	case to <- c:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// write passes chunks on as the rule says. It returns whether the source ended
// in order; after a reset both sides are to be reset.
func (l *link) write(d Direction, to *net.TCPConn, from <-chan chunk) bool {
	for {
		select {
		case c := <-from:
			if !l.hold(d, c.at) {
				return false
			}
			if errors.Is(c.err, io.EOF) {
				return to.CloseWrite() == nil
			}
			if c.err != nil || !l.sleep(time.Until(l.p.book(d, len(c.data)))) {
				return false
			}
			if _, err := to.Write(c.data); err != nil {
				return false
			}
		case <-l.ctx.Done():
			return false
		}
	}
}

// hold waits until bytes that came at a time may go on.
func (l *link) hold(d Direction, at time.Time) bool {
	for {
		r, changed := l.p.rule(d)
		left := time.Until(at.Add(r.Delay))
		if !r.Cut && left <= 0 {
			return true
		}
		var due <-chan time.Time
		if !r.Cut {
			due = time.After(left)
		}
		select {
		case <-due:
		case <-changed:
		case <-l.ctx.Done():
			return false
		}
	}
}

func (l *link) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-l.ctx.Done():
		return false
	}
}
