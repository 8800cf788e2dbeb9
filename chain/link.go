package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// LinkSize is the size of an encoded link in bytes.
const LinkSize = 224

// Kind says what a link stands for.
type Kind uint8

// The kinds of links.
const (
	KindGenesis Kind = iota
	KindStep
	KindHandoff
	KindRoster
	KindSeal
	KindFork
)

// String is the kind's name in lower case.
func (k Kind) String() string {
	names := [...]string{"genesis", "step", "handoff", "roster", "seal", "fork"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Flags qualify a link.
type Flags uint8

// The flags of a link.
const (
	Rooted   Flags = 1 // PrevRoot is set
	Rejected Flags = 2 // the daemon answered the event with an error
	Refused  Flags = 4 // the host refused the event; replay does not call the daemon
)

const (
	linkMagic = "USL1"
	suite     = 1
)

// Link is one step of the chain. Its hash and its bytes are fixed by its
// fields; docs/formats.md has the table.
type Link struct {
	Kind       Kind
	Flags      Flags
	Term       uint64 // fencing number; rises at each handoff only
	Seq        uint64 // leaf index: links before this one
	Inputs     uint64 // events processed up to and including this link
	Outputs    uint64 // outputs emitted up to and including this link
	Time       int64  // unix ns, set by the active, never decreasing
	Horizon    Sketch // the producers seen
	Origin     Origin
	Parent     Hash // hash of the link before
	Input      Hash // digest of the event or record
	OutputRoot Hash // tree over the outputs
	PrevRoot   Hash // tree over all links before this one; zero unless rooted
}

// Bytes is the link's encoding.
func (l *Link) Bytes() (b [LinkSize]byte) {
	l.put(&b)
	return b
}

func (l *Link) put(b *[LinkSize]byte) {
	copy(b[0:], linkMagic)
	b[4], b[5] = byte(l.Kind), byte(l.Flags)
	binary.BigEndian.PutUint16(b[6:], suite)
	binary.BigEndian.PutUint64(b[8:], l.Term)
	binary.BigEndian.PutUint64(b[16:], l.Seq)
	binary.BigEndian.PutUint64(b[24:], l.Inputs)
	binary.BigEndian.PutUint64(b[32:], l.Outputs)
	binary.BigEndian.PutUint64(b[40:], uint64(l.Time))
	binary.BigEndian.PutUint64(b[48:], uint64(l.Horizon))
	binary.BigEndian.PutUint64(b[56:], 0)
	copy(b[64:], l.Origin[:])
	copy(b[96:], l.Parent[:])
	copy(b[128:], l.Input[:])
	copy(b[160:], l.OutputRoot[:])
	copy(b[192:], l.PrevRoot[:])
}

// Hash is BLAKE3 over the link's bytes: the next link's Parent.
func (l *Link) Hash() Hash {
	h := linkPool.get()
	l.put(&h.buf)
	h.Write(h.buf[:])
	return linkPool.sum(h)
}

// ErrLink: the bytes are not those of a link.
var ErrLink = errors.New("malformed link")

// ParseLink reads exactly the bytes that Bytes writes.
func ParseLink(b []byte) (Link, error) {
	if len(b) != LinkSize {
		return Link{}, fmt.Errorf("%w: %d bytes, %d are right", ErrLink, len(b), LinkSize)
	}
	l := Link{
		Kind: Kind(b[4]), Flags: Flags(b[5]),
		Term: binary.BigEndian.Uint64(b[8:]), Seq: binary.BigEndian.Uint64(b[16:]),
		Inputs: binary.BigEndian.Uint64(b[24:]), Outputs: binary.BigEndian.Uint64(b[32:]),
		Time: int64(binary.BigEndian.Uint64(b[40:])), Horizon: Sketch(binary.BigEndian.Uint64(b[48:])),
		Origin: Origin(b[64:96]), Parent: Hash(b[96:128]), Input: Hash(b[128:160]), OutputRoot: Hash(b[160:192]), PrevRoot: Hash(b[192:224]),
	}
	switch {
	case string(b[:4]) != linkMagic:
		return Link{}, fmt.Errorf("%w: magic %q", ErrLink, b[:4])
	case l.Kind > KindFork:
		return Link{}, fmt.Errorf("%w: kind %d", ErrLink, b[4])
	case l.Flags&^(Rooted|Rejected|Refused) != 0:
		return Link{}, fmt.Errorf("%w: flags %#x", ErrLink, b[5])
	case binary.BigEndian.Uint16(b[6:]) != suite:
		return Link{}, fmt.Errorf("%w: suite %d", ErrLink, binary.BigEndian.Uint16(b[6:]))
	case binary.BigEndian.Uint64(b[56:]) != 0:
		return Link{}, fmt.Errorf("%w: reserved bytes are not zero", ErrLink)
	case l.Kind != KindStep && l.Flags != Rooted:
		return Link{}, fmt.Errorf("%w: a %s link has flags %#x", ErrLink, l.Kind, b[5])
	case l.Flags&Rejected != 0 && l.Flags&Refused != 0:
		return Link{}, fmt.Errorf("%w: both rejected and refused", ErrLink)
	case l.Flags&Rooted == 0 && !l.PrevRoot.IsZero():
		return Link{}, fmt.Errorf("%w: a root without the rooted flag", ErrLink)
	case l.Time < 0:
		return Link{}, fmt.Errorf("%w: time before 1970", ErrLink)
	}
	return l, nil
}

// Head is the newest link and its hash. Two equal heads mean equal histories.
type Head struct {
	Link Link
	Hash Hash
}

// Seq is the position of the newest link.
func (h Head) Seq() uint64 { return h.Link.Seq }

// Size is the number of links up to and including the newest.
func (h Head) Size() uint64 { return h.Link.Seq + 1 }
