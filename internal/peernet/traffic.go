package peernet

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// Traffic counts the bytes of a network's connections as they are on the wire.
type Traffic struct{ Sent, Received atomic.Uint64 }

// on counts a connection; without anybody to count for, it is left alone.
func (t *Traffic) on(c net.Conn) net.Conn {
	if t == nil {
		return c
	}
	return &countedConn{c, t}
}

type countedConn struct {
	net.Conn
	t *Traffic
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.t.Received.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.t.Sent.Add(uint64(n))
	return n, err
}

// SyscallConn lets the socket be looked at: see dead.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
