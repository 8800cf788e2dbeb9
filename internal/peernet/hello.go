package peernet

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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

	mu       sync.Mutex
	known    map[string]Identity // as remembered on disk
	refusals map[string]Refusal
}

// newGate reads what this member remembers of the others. Without it, it could
// let in a disk that was wiped: damage ends the start.
func newGate(id Identity, key chain.Keypair, roster chain.Roster, memory durable.FS) (*gate, error) {
	g := &gate{id: id, key: key, roster: roster, memory: memory, known: make(map[string]Identity), refusals: make(map[string]Refusal)}
	for _, m := range roster.Members {
		b, err := durable.ReadSealed(memory, m.Name, memorySize)
		switch {
		case err == nil && len(b) == memorySize:
			known := Identity{StoreID: [16]byte(b[:16]), Starts: binary.BigEndian.Uint64(b[16:])}
			copy(known.Marks[0][:], b[24:])
			g.known[m.Name] = known
		case !errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("what this member remembers of %q: %w: restore its data directory whole, or rejoin it with an empty one", m.Name, damaged(err))
		}
	}
	return g, nil
}

// damaged is err, or that the content is not what was written.
func damaged(err error) error {
	if err == nil {
		return durable.ErrDamaged
	}
	return err
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

// remember compares a peer's store with what is known of it, and takes note,
// durably, before the peer is let in.
func (g *gate) remember(p Identity) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	known, ok := g.known[p.Member]
	since := p.Starts - known.Starts // starts that this member does not know of
	switch {
	case ok && known.StoreID != p.StoreID:
		return fmt.Errorf("%q has another store than before: its disk was wiped or replaced; the operator must rejoin it", p.Member)
	case ok && p.Starts < known.Starts:
		return fmt.Errorf("the store of %q was started %d times and is now at %d: its disk was put back to an earlier state; the operator must rejoin it", p.Member, known.Starts, p.Starts)
	case ok && since < uint64(len(p.Marks)) && p.Marks[since] != known.Marks[0]:
		return fmt.Errorf("the store of %q does not know of its own start %d: its disk was put back to an earlier state; the operator must rejoin it", p.Member, known.Starts)
	case ok && since == 0:
		return nil
	}
	b := binary.BigEndian.AppendUint64(append([]byte(nil), p.StoreID[:]...), p.Starts)
	if err := durable.WriteSealed(g.memory, p.Member, append(b, p.Marks[0][:]...)); err != nil {
		return fmt.Errorf("this member cannot remember %q: %w", p.Member, err)
	}
	g.known[p.Member] = p
	return nil
}

// memorySize is what is kept of a peer: store id, starts, and the mark of the
// newest start.
const memorySize = 16 + 8 + 8

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
