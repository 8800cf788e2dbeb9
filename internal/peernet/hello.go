package peernet

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// handshakeTimeout bounds a handshake, TLS and hello together.
const handshakeTimeout = 5 * time.Second

const (
	helloMagic = "USP1"
	maxHello   = 1024
	maxReason  = 512
)

// gate decides who is let in. It is shared by all connections of a network.
type gate struct {
	id     Identity
	key    chain.Keypair
	roster chain.Roster
	memory durable.FS

	writing sync.Mutex // held by whoever writes to memory, for as long as a disk may hang

	mu       sync.Mutex           // held shortly
	known    map[string]peerStore // as remembered on disk
	refusals map[string]Refusal
}

// shake says hello on a new connection. want is the member that was dialled,
// empty for one that was accepted. binding is what only the two ends of this
// connection know.
func (g *gate) shake(c net.Conn, want string, binding []byte) (Identity, error) {
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	defer c.SetDeadline(time.Time{})
	var nonce [32]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return Identity{}, err
	}
	// Both sides first send a nonce, then their signed hello over both nonces.
	var other [32]byte
	if err := exchange(c, nonce[:], other[:]); err != nil {
		return Identity{}, err
	}
	role, otherRole := byte('d'), byte('a')
	if want == "" {
		role, otherRole = 'a', 'd'
	}
	mine, err := g.hello(role, binding, other[:])
	if err != nil {
		return Identity{}, err
	}
	theirs, err := swap(c, mine, maxHello)
	if err != nil {
		return Identity{}, err
	}
	peer, verdict := g.judge(theirs, otherRole, binding, nonce[:], want)
	reason := ""
	if verdict != nil {
		reason = verdict.Error()
	}
	answer, err := swap(c, []byte(reason[:min(len(reason), maxReason)]), maxReason)
	switch {
	case verdict != nil:
		e := &RefusedError{By: g.id.Member, Reason: reason}
		g.note(peer.Member, e)
		return peer, e
	case err != nil:
		return peer, err
	case len(answer) > 0:
		e := &RefusedError{By: peer.Member, Reason: string(answer)}
		g.note(g.id.Member, e)
		return peer, e
	}
	return peer, nil
}

func exchange(c net.Conn, out, in []byte) error {
	werr := make(chan error, 1)
	go func() { _, err := c.Write(out); werr <- err }()
	_, err := io.ReadFull(c, in)
	if err != nil {
		c.SetDeadline(time.Now()) // ends the write
	}
	return errors.Join(err, <-werr)
}

// swap sends a message and reads one, both with a length in front.
func swap(c net.Conn, out []byte, max int) ([]byte, error) {
	var head [2]byte
	if err := exchange(c, binary.BigEndian.AppendUint16(nil, uint16(len(out))), head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > max {
		return nil, fmt.Errorf("a hello of %d bytes", n)
	}
	in := make([]byte, n)
	return in, exchange(c, out, in)
}

func (g *gate) hello(role byte, binding, nonce []byte) ([]byte, error) {
	b := append([]byte(helloMagic), g.id.Origin[:]...)
	b = append(b, g.id.StoreID[:]...)
	b = binary.BigEndian.AppendUint64(b, g.id.Starts)
	for _, m := range g.id.Marks {
		b = append(b, m[:]...)
	}
	for _, s := range []string{g.id.Group, g.id.Member} {
		b = append(append(b, byte(len(s))), s...)
	}
	sig, err := g.key.Sign(helloDigest(role, b, binding, nonce))
	return append(b, sig...), err
}

func helloDigest(role byte, body, binding, nonce []byte) []byte {
	d := chain.Derive("peer hello", []byte{role}, nonce, binding, body)
	return d[:]
}

// judge reads a hello and decides.
func (g *gate) judge(b []byte, role byte, binding, nonce []byte, want string) (Identity, error) {
	var p Identity
	const marks = 4 + 32 + 16 + 8
	const fixed = marks + len(p.Marks)*len(p.Marks[0])
	if len(b) < fixed+2+64 || string(b[:4]) != helloMagic {
		return p, errors.New("that is no hello of this protocol version")
	}
	body, sig := b[:len(b)-64], b[len(b)-64:]
	copy(p.Origin[:], body[4:])
	copy(p.StoreID[:], body[36:])
	p.Starts = binary.BigEndian.Uint64(body[52:])
	for i := range p.Marks {
		copy(p.Marks[i][:], body[marks+i*len(p.Marks[i]):])
	}
	rest := body[fixed:]
	for _, s := range []*string{&p.Group, &p.Member} {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return p, errors.New("a malformed hello")
		}
		n := 1 + int(rest[0]) // not in a byte: 255 and 1 are 0 there
		*s, rest = string(rest[1:n]), rest[n:]
	}
	m, ok := g.roster.Member(p.Member)
	switch {
	case len(rest) > 0:
		return p, errors.New("a malformed hello")
	case p.Group != g.id.Group || p.Origin != g.id.Origin:
		return p, fmt.Errorf("%q belongs to group %q %s, this is %q %s", p.Member, p.Group, p.Origin.Short(), g.id.Group, g.id.Origin.Short())
	case !ok:
		return p, fmt.Errorf("%q is not in the roster", p.Member)
	case want != "" && p.Member != want:
		return p, fmt.Errorf("%q answers where %q was called: check the addresses", p.Member, want)
	case p.Member == g.id.Member:
		return p, fmt.Errorf("%q is this member's own name: two processes use it", p.Member)
	case !chain.Verify(m.LogKey, helloDigest(role, body, binding, nonce), sig):
		return p, fmt.Errorf("the hello is not signed with the log key of %q", p.Member)
	}
	return p, g.remember(p)
}

// maxRefusals bounds the refusals that are kept.
const maxRefusals = 16

func (g *gate) note(member string, e *RefusedError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := fmt.Sprintf("%.64q by %s", member, e.By)
	if _, ok := g.refusals[key]; !ok && len(g.refusals) >= maxRefusals {
		return
	}
	g.refusals[key] = Refusal{Member: member, By: e.By, Reason: e.Reason, At: time.Now()}
}

// recent are the refusals of the last minute.
func (g *gate) recent() []Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Refusal
	for k, r := range g.refusals {
		if time.Since(r.At) > time.Minute {
			delete(g.refusals, k)
			continue
		}
		out = append(out, r)
	}
	return out
}
