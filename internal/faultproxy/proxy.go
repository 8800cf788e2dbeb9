// Package faultproxy puts a network that can be broken between processes: a
// TCP proxy that holds, delays, slows or resets what passes, each direction by
// itself. It needs no privileges and changes nothing outside its own sockets.
//
// A [Proxy] stands in front of one address. A [Mesh] is a proxy for every
// ordered pair of members, so that any of them can be cut from any other.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is which way bytes go.
type Direction int

// The directions.
const (
	Forward Direction = iota // from who dialled to the target
	Back                     // from the target to who dialled
)

// Rule is what happens to bytes that go one way. The zero value lets them pass.
type Rule struct {
	// Cut holds everything, ends of connections included, until another rule is
	// set: as on a dead line nothing is lost that the sender does not give up. A
	// connection made while Forward is cut does not reach the target.
	Cut bool
	// Reset ends open connections and refuses new ones with a TCP reset.
	Reset bool
	Delay time.Duration // on every byte
	Rate  int           // bytes a second for all connections together; 0: no limit
}

// maxConns bounds the connections through a proxy at a time.
const maxConns = 1024

// Proxy passes connections on to one target.
type Proxy struct {
	target string
	ln     net.Listener
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	rules   [2]Rule
	free    [2]time.Time  // when a limited line has sent what it took
	changed chan struct{} // closed when a rule is set
	conns   map[*link]bool
}

// New listens on an address, "127.0.0.1:0" for any port, and passes on to another.
func New(listen, target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("fault proxy for %s: %w", target, err)
	}
	p := &Proxy{target: target, ln: ln, changed: make(chan struct{}), conns: make(map[*link]bool)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// SetRule replaces the rule of a direction. It holds for open connections too.
func (p *Proxy) SetRule(d Direction, r Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules[d] = r
	close(p.changed)
	p.changed = make(chan struct{})
	if r.Reset {
		for l := range p.conns {
			l.reset()
		}
	}
}

// Conns is how many connections are open.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Close ends the listener and all connections.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.ln.Close()
	p.mu.Lock()
	for l := range p.conns {
		l.reset()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-time.After(10 * time.Millisecond): // out of descriptors: others must close first
			case <-p.ctx.Done():
			}
			continue
		}
		l := newLink(p, c.(*net.TCPConn))
		if !p.add(l) {
			l.reset()
			continue
		}
		p.wg.Go(func() {
			l.serve()
			p.mu.Lock()
			delete(p.conns, l)
			p.mu.Unlock()
		})
	}
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil || len(p.conns) >= maxConns || p.rules[Forward].Reset || p.rules[Back].Reset {
		return false
	}
	p.conns[l] = true
	return true
}

// rule is that of a direction now, and a channel that closes when it changes.
func (p *Proxy) rule(d Direction) (Rule, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rules[d], p.changed
}

// book takes a limited line for n bytes and says when they are through.
func (p *Proxy) book(d Direction, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, rate := time.Now(), p.rules[d].Rate
	if rate <= 0 {
		return now
	}
	if p.free[d].Before(now) {
		p.free[d] = now
	}
	p.free[d] = p.free[d].Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return p.free[d]
}
