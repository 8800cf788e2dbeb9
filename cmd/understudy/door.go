package main

import (
	"container/list"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// maxCallers bounds the API's connections where files do not.
const maxCallers = 16384

// callers is how many connections the API takes: half of the files that this
// process may open. Without a bound whoever reaches the port could take them
// all, and a member that can open no file for its log has to end.
func callers() int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return maxCallers / 16
	}
	return int(min(uint64(lim.Cur)/2, maxCallers))
}

// door is a listener that lets in a bounded number of connections. When all
// places are taken a new one gets the place of the one that has waited longest
// without a request. If all are at work it is closed.
type door struct {
	net.Listener
	max int
	log *slog.Logger

	mu      sync.Mutex
	inside  int
	waiting list.List // of *caller, the longest first
	told    time.Time // when it was last said that places are taken
}

// caller is a connection that is inside.
type caller struct {
	net.Conn
	d    *door
	out  bool          // under the door's lock
	wait *list.Element // nil while a request is under way; under the door's lock
}

func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if in := d.admit(c); in != nil {
			return in, nil
		}
		c.Close()
	}
}

// admit makes room for a connection, or gives nil.
func (d *door) admit(c net.Conn) *caller {
	d.mu.Lock()
	var gone *caller
	if d.inside >= d.max {
		if time.Since(d.told) > time.Minute {
			d.told = time.Now()
			d.log.Warn("all connections of the API are taken: those that wait longest are closed for new ones", "connections", d.max)
		}
		first := d.waiting.Front()
		if first == nil {
			d.mu.Unlock()
			return nil
		}
		gone = first.Value.(*caller)
		gone.leave()
	}
	in := &caller{Conn: c, d: d}
	in.wait = d.waiting.PushBack(in)
	d.inside++
	d.mu.Unlock()
	if gone != nil {
		gone.Conn.Close()
	}
	return in
}

// leave gives the place back. The door is locked.
func (c *caller) leave() {
	if c.out {
		return
	}
	c.out = true
	c.d.inside--
	c.d.rest(c, false)
}

// rest notes whether a caller has no request under way. The door is locked.
func (d *door) rest(c *caller, waits bool) {
	if c.wait != nil {
		d.waiting.Remove(c.wait)
		c.wait = nil
	}
	if waits && !c.out {
		c.wait = d.waiting.PushBack(c)
	}
}

func (c *caller) Close() error {
	c.d.mu.Lock()
	c.leave()
	c.d.mu.Unlock()
	return c.Conn.Close()
}

// state is told by the server what a connection does.
func (d *door) state(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(*caller)
	if !ok || s != http.StateActive && s != http.StateIdle {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rest(c, s == http.StateIdle)
}
