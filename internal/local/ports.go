package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Kernels give their own choice of ports, for connections and for listeners
// that name none, from a range above these.
const firstPort, endPort = 10_000, 32_000

// Ports are addresses on loopback for servers that start later, and may be
// killed and started again.
type Ports struct {
	Addrs []string
	marks []net.PacketConn
}

// ReservePorts finds n addresses at which nobody listens. The kernel gives them
// to nobody by itself, and until Release no other call has them, here or in
// another process: a UDP socket, which is in no TCP server's way, marks each.
func ReservePorts(n int) (*Ports, error) {
	p := &Ports{}
	var last error
	for range 1000 + n {
		if len(p.Addrs) == n {
			return p, nil
		}
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(endPort-firstPort))
		mark, err := net.ListenPacket("udp", addr)
		if err != nil {
			last = err
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			last = errors.Join(err, mark.Close())
			continue
		}
		l.Close()
		p.Addrs, p.marks = append(p.Addrs, addr), append(p.marks, mark)
	}
	p.Release()
	return nil, fmt.Errorf("no %d free ports on loopback: %w", n, last)
}

// Release lets others have them.
func (p *Ports) Release() {
	for _, m := range p.marks {
		m.Close()
	}
	p.marks = nil
}
