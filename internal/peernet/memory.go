package peernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// peerStore is what a member remembers of another one's store. If it was seen
// put back to an earlier state once, it is let in only where it shows that it
// knows of the start that is remembered: the copy that was put back can be
// started until it has forgotten how far it had come.
type peerStore struct {
	id      [16]byte
	starts  uint64
	mark    [8]byte // of that start
	putBack bool
}

// memorySize is what is kept of a peer: store id, starts, and the mark of the
// newest start. One byte follows once it was seen put back.
const memorySize = 16 + 8 + 8

func (s peerStore) marshal() []byte {
	b := binary.BigEndian.AppendUint64(s.id[:len(s.id):len(s.id)], s.starts)
	b = append(b, s.mark[:]...)
	if s.putBack {
		b = append(b, 1)
	}
	return b
}

func parsePeerStore(b []byte) (s peerStore, ok bool) {
	if len(b) != memorySize && (len(b) != memorySize+1 || b[memorySize] != 1) {
		return s, false
	}
	return peerStore{[16]byte(b), binary.BigEndian.Uint64(b[16:]), [8]byte(b[24:]), len(b) > memorySize}, true
}

// newGate reads what this member remembers of the others. Without it, it could
// let in a disk that was wiped: damage ends the start.
func newGate(id Identity, key chain.Keypair, roster chain.Roster, memory durable.FS) (*gate, error) {
	g := &gate{id: id, key: key, roster: roster, memory: memory, known: make(map[string]peerStore), refusals: make(map[string]Refusal)}
	for _, m := range roster.Members {
		b, err := durable.ReadSealed(memory, m.Name, memorySize+1)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		known, ok := parsePeerStore(b)
		if err == nil && !ok {
			err = durable.ErrDamaged
		}
		if err != nil {
			return nil, fmt.Errorf("what this member remembers of %q: %w: restore its data directory whole, or rejoin it with an empty one", m.Name, err)
		}
		g.known[m.Name] = known
	}
	if err := memory.SyncDir("."); err != nil { // what a killed process has renamed counts from now on
		return nil, fmt.Errorf("what this member remembers of the others: %w", err)
	}
	return g, nil
}

// remember compares a peer's store with what is known of it, and takes note,
// durably, before the peer is let in.
func (g *gate) remember(p Identity) error {
	if known, ok := g.recall(p.Member); ok && known.id == p.StoreID && known.starts == p.Starts && known.mark == p.Marks[0] {
		return nil // nothing is to be written, so no disk that hangs is waited for
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	known, ok := g.recall(p.Member)
	since := p.Starts - known.starts // starts that this member does not know of
	beyond := since >= uint64(len(p.Marks))
	switch {
	case ok && known.id != p.StoreID:
		return fmt.Errorf("%q has another store than before: its disk was wiped or replaced; the operator must rejoin it", p.Member)
	case ok && p.Starts < known.starts:
		return errors.Join(fmt.Errorf("the store of %q was started %d times and is now at %d: its disk was put back to an earlier state; the operator must rejoin it", p.Member, known.starts, p.Starts), g.putBack(p.Member))
	case ok && !beyond && p.Marks[since] != known.mark:
		return errors.Join(fmt.Errorf("the store of %q does not know of its own start %d: its disk was put back to an earlier state; the operator must rejoin it", p.Member, known.starts), g.putBack(p.Member))
	case ok && beyond && known.putBack:
		return fmt.Errorf("the store of %q was put back to an earlier state once, and its start %d is too long ago to tell whether this is that copy; the operator must rejoin it, or, if it is not, stop %q and remove peers/%s from its data directory", p.Member, known.starts, g.id.Member, p.Member)
	case ok && since == 0:
		return nil
	}
	return g.store(p.Member, peerStore{p.StoreID, p.Starts, p.Marks[0], known.putBack})
}

// recall is what is remembered of a peer.
func (g *gate) recall(member string) (peerStore, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.known[member]
	return s, ok
}

// putBack takes note, once, that a peer's store was put back.
func (g *gate) putBack(member string) error {
	known, _ := g.recall(member)
	if known.putBack {
		return nil
	}
	known.putBack = true
	return g.store(member, known)
}

func (g *gate) store(member string, s peerStore) error {
	if err := durable.WriteSealed(g.memory, member, s.marshal()); err != nil {
		return fmt.Errorf("this member cannot remember %q: %w", member, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known[member] = s
	return nil
}
