package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// descriptors sees to it that this process may open so many files beside its own.
func descriptors(t *testing.T, n int) {
	t.Helper()
	var lim syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim))
	if lim.Cur < lim.Max {
		lim.Cur = lim.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim)
	}
	if need := uint64(n + 500); lim.Cur < need {
		t.Skipf("%d connections take %d open files, this process may have %d: raise ulimit -n", n, need, lim.Cur)
	}
}

// crowd is connections that say nothing, or the beginning of something.
type crowd []net.Conn

func gather(t *testing.T, addr string, n int, say string) crowd {
	t.Helper()
	var all crowd
	t.Cleanup(func() { all.leave() })
	for i := range n {
		c, err := net.DialTimeout("tcp", addr, patience)
		require.NoErrorf(t, err, "connection %d", i)
		all = append(all, c)
		if i%2 == 0 {
			io.WriteString(c, say) // and never the rest
		}
	}
	return all
}

func (c crowd) leave() {
	for _, c := range c {
		c.Close()
	}
}

// held is how many of them the other side has not ended.
func (c crowd) held() (n int) {
	for _, c := range c {
		c.SetReadDeadline(time.Now().Add(time.Microsecond))
		for b := make([]byte, 512); ; {
			_, err := c.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				n++
			}
			if err != nil {
				break
			}
		}
	}
	return n
}

// Thousands of connections to one port, of the active, which say nothing: the
// group serves and fails over, and memory stays bounded. Of those of members it
// takes no more than it has room for.
func TestCrowdAtOnePort(t *testing.T) {
	slow(t)
	descriptors(t, *idle)
	s := newStage(t, plan{daemon: "kv", events: 6000})
	s.busy(1000)
	check := s.bounded(64<<20 + *idle*32<<10)
	for _, port := range []struct{ name, say string }{{"api", "GET /v1/status HTTP/1.1\r\nHost:"}, {"peer", "\x16\x03\x01\x02\x00\x01"}} {
		m, _ := s.active()
		addr := m.api()
		if port.name == "peer" {
			addr = m.peer
		}
		all := gather(t, addr, *idle, port.say)
		s.busy(1000)
		check()
		if port.name == "peer" {
			s.await("waiting for the port to close what it has no room for", func(context.Context) error {
				if n := all.held(); n > 256 {
					return fmt.Errorf("it holds %d", n)
				}
				return nil
			})
		}
		s.allow(600)
		m, st := s.active()
		s.kill(m)
		s.after(st.Term)
		s.start(m)
		s.healthy()
		all.leave()
	}
	s.finish()
}

// More connections than a member may have open files: those beyond its bound
// are closed at once. The member goes on, and has what it needs for its disk.
func TestMoreConnectionsThanFiles(t *testing.T) {
	slow(t)
	const files = 600
	descriptors(t, 3*files)
	s := newStage(t, plan{daemon: "ledger", events: 6000, before: func(s *stage) {
		for _, m := range s.members {
			m.Args = append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files), m.Program}, m.Args...)
			m.Program = "/bin/sh"
		}
	}})
	s.busy(1000)
	var all []crowd
	for _, m := range s.members {
		all = append(all, gather(t, m.api(), files, "GET /v1/status HTTP/1.1\r\nHost:"))
	}
	s.busy(1000) // the load's connections are there already
	for i, m := range s.members {
		s.await("waiting for the port to close what it has no room for", func(context.Context) error {
			if n := all[i].held(); n >= files {
				return fmt.Errorf("it holds %d", n)
			}
			return nil
		})
		require.Less(t, m.usage()[2], files-50, "open files of %s", m.name)
	}
	m, st := s.active()
	s.allow(600)
	s.kill(m)
	s.after(st.Term)
	s.start(m)
	s.healthy() // asks the ports that are crowded
	for _, c := range all {
		c.leave()
	}
	s.finish()
}
