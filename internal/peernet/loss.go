package peernet

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// losses passes on which members ended a connection.
type losses chan string

func newLosses() losses { return make(losses, 64) }

// note tells of the end of a connection that this side did not close.
func (l losses) note(member string, err error) {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	select {
	case l <- member:
	default: // enough of them wait already
	}
}

// settle is how long a process that is being killed may need to let go of its
// listener after its connections: the kernel closes one after the other.
const settle = 20 * time.Millisecond

// Gone dials the member. Only a refusal counts: somebody answered for the
// machine, and nobody listens there.
func (n *tlsNet) Gone(ctx context.Context, member string) bool {
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.cfg.Peers[member])
		if err != nil {
			return errors.Is(err, syscall.ECONNREFUSED)
		}
		// A living member waits for our hello. A dying one's listener took the
		// connection into its backlog and resets it.
		c.SetReadDeadline(time.Now().Add(settle))
		_, err = c.Read(make([]byte, 1))
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		select { // something else may answer for a process that is gone
		case <-time.After(settle / 4):
		case <-ctx.Done():
		}
	}
	return false
}

// Gone of the switch: the member is not connected, and no fault hides that.
func (n *memNet) Gone(_ context.Context, member string) bool {
	for _, way := range [][2]string{{n.id.Member, member}, {member, n.id.Member}} {
		if cut, _, _ := n.s.state(way[0], way[1]); cut {
			return false
		}
	}
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.s.nets[member] == nil
}

func (n *tlsNet) Lost() <-chan string { return n.lost }
func (n *memNet) Lost() <-chan string { return n.lost }
