package peernet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Switch connects networks in memory. It has no sockets and its goroutines
// wait only on channels and timers, so it works in virtual time. Its faults act
// on every connection, open or new.
type Switch struct {
	mu   sync.Mutex
	nets map[string]*memNet
	cut  map[[2]string]bool // messages from the first to the second are held
	wake chan struct{}      // closed when a cut changes
	wait time.Duration      // on every message
	slow map[[2]string]time.Duration
	lose int // every so many messages one is lost, with its connection; 0 for none
	sent int
}

// NewSwitch is one without faults.
func NewSwitch() *Switch {
	return &Switch{
		nets: make(map[string]*memNet), cut: make(map[[2]string]bool), slow: make(map[[2]string]time.Duration), wake: make(chan struct{}),
	}
}

// Cut holds what from sends to to, until Heal: bytes are not lost, as TCP's are not.
func (s *Switch) Cut(from, to string) { s.set(func() { s.cut[[2]string{from, to}] = true }) }

// Isolate cuts a member from all others, both ways.
func (s *Switch) Isolate(member string, others ...string) {
	for _, o := range others {
		if o != member {
			s.Cut(member, o)
			s.Cut(o, member)
		}
	}
}

// Heal ends all faults of the lines. What was held arrives late.
func (s *Switch) Heal() {
	s.set(func() { clear(s.cut); clear(s.slow); s.wait, s.lose = 0, 0 })
}

// Reset ends all connections of a member, which goes on listening. What is on
// its way is lost.
func (s *Switch) Reset(member string) {
	s.mu.Lock()
	n := s.nets[member]
	s.mu.Unlock()
	if n == nil {
		return
	}
	n.mu.Lock()
	var all []*memConn
	for c := range n.conns {
		all = append(all, c)
	}
	n.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// Delay makes every message take this long.
func (s *Switch) Delay(d time.Duration) { s.set(func() { s.wait = d }) }

// Slow makes every message on one line take this long.
func (s *Switch) Slow(from, to string, d time.Duration) {
	s.set(func() { s.slow[[2]string{from, to}] = d })
}

// Lose makes every nth message end its connection instead of arriving, which is
// how a stream loses one. 0 ends it.
func (s *Switch) Lose(n int) { s.set(func() { s.lose, s.sent = n, 0 }) }

func (s *Switch) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *Switch) state(from, to string) (cut bool, wait time.Duration, wake chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := [2]string{from, to}
	return s.cut[line], max(s.wait, s.slow[line]), s.wake
}

// loses says whether the next message is the one to be lost.
func (s *Switch) loses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	return s.lose > 0 && s.sent%s.lose == 0
}

type memNet struct {
	s      *Switch
	id     Identity
	gate   *gate
	queues queues
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  map[*memConn]bool
	done   chan struct{}
	lost   losses
}

// Network connects a member to the switch.
func (s *Switch) Network(id Identity, key chain.Keypair, roster chain.Roster, memory durable.FS) (Network, error) {
	g, err := newGate(id, key, roster, memory)
	if err != nil {
		return nil, err
	}
	n := &memNet{s: s, id: id, gate: g, conns: make(map[*memConn]bool), done: make(chan struct{}), lost: newLosses()}
	n.queues.addr = name(id.Member)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nets[id.Member] != nil {
		return nil, fmt.Errorf("%s is connected already", id.Member)
	}
	s.nets[id.Member] = n
	return n, nil
}

func (n *memNet) Listener(proto string) net.Listener { return n.queues.get(proto) }
func (n *memNet) Refusals() []Refusal                { return n.gate.recent() }

func (n *memNet) Dial(ctx context.Context, member, proto string) (Conn, error) {
	n.s.mu.Lock()
	o := n.s.nets[member]
	n.s.mu.Unlock()
	if o == nil {
		return nil, fmt.Errorf("member %s: connection refused", member)
	}
	a, b := newPipe(), newPipe()
	mine := &memConn{n: n, from: n.id.Member, to: member, out: a, in: b}
	theirs := &memConn{n: o, from: member, to: n.id.Member, out: b, in: a}
	if !n.add(mine) {
		return nil, net.ErrClosed
	}
	if !o.add(theirs) {
		mine.Close()
		n.wg.Done() // nothing carries for it
		return nil, fmt.Errorf("member %s: connection refused", member)
	}
	n.start(mine)
	o.start(theirs)
	o.wg.Add(1)
	go func() {
		defer o.wg.Done()
		var err error
		if theirs.peer, err = o.gate.shake(theirs, "", nil); err != nil {
			theirs.Close()
			return
		}
		o.queues.get(proto).put(theirs)
	}()
	stop := context.AfterFunc(ctx, func() { mine.Close() })
	var err error
	mine.peer, err = n.gate.shake(mine, member, nil)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		mine.Close()
		return nil, fmt.Errorf("member %s: %w", member, err)
	}
	return mine, nil
}

func (n *memNet) add(c *memConn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.done:
		return false
	default:
	}
	n.conns[c] = true
	n.wg.Add(1)
	return true
}

// start carries what the connection sends, with the switch's faults.
func (n *memNet) start(c *memConn) {
	go func() {
		defer n.wg.Done()
		for {
			select {
			case m := <-c.out.sent:
				if !c.carry(m) {
					return
				}
			case <-c.out.done:
				return
			}
		}
	}()
}

func (n *memNet) Close() error {
	n.s.mu.Lock()
	if n.s.nets[n.id.Member] == n {
		delete(n.s.nets, n.id.Member)
	}
	n.s.mu.Unlock()
	n.mu.Lock()
	select {
	case <-n.done:
		n.mu.Unlock()
		return nil
	default:
	}
	close(n.done)
	var all []*memConn
	for c := range n.conns {
		all = append(all, c)
	}
	n.mu.Unlock()
	n.queues.close()
	for _, c := range all {
		c.Close()
	}
	n.wg.Wait()
	return nil
}
