package local

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// A member that was killed finds its port free when it starts again, whoever
// looked for one meanwhile.
func TestReservedPortsAreNobodyElses(t *testing.T) {
	const n = 500
	ours, err := ReservePorts(n)
	require.NoError(t, err)
	defer ours.Release()
	theirs, err := ReservePorts(n)
	require.NoError(t, err)
	defer theirs.Release()
	seen := make(map[string]bool)
	for _, addr := range append(ours.Addrs, theirs.Addrs...) {
		require.False(t, seen[addr], addr)
		seen[addr] = true
	}
	for range 2 {
		l, err := net.Listen("tcp", ours.Addrs[0])
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	_, err = net.ListenPacket("udp", theirs.Addrs[0])
	require.Error(t, err)
	theirs.Release()
	again, err := net.ListenPacket("udp", theirs.Addrs[0])
	require.NoError(t, err)
	again.Close()
}

func TestServerKeepsItsPort(t *testing.T) {
	var servers []net.Listener
	defer func() {
		for _, l := range servers {
			l.Close()
		}
	}()
	for port := firstPort; port < firstPort+500; port++ {
		if l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err == nil {
			servers = append(servers, l)
		}
	}
	p, err := ReservePorts(500)
	require.NoError(t, err)
	defer p.Release()
	for _, l := range servers {
		require.NotContains(t, p.Addrs, l.Addr().String())
	}
}
