//go:build unix

package peernet

import (
	"net"
	"syscall"
)

// dead looks at a socket without reading from it: the other side has ended the
// connection, or it is broken. Bytes that wait are TLS's farewell: nobody speaks
// on an idle connection.
func dead(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = err != syscall.EAGAIN && err != syscall.EINTR
		return true
	})
	return gone || err != nil
}
