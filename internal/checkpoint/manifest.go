package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/understudy-ha/understudy/chain"
)

// ChunkSize is the size of every chunk but a state's last, in bytes.
const ChunkSize = 1 << 20

// MaxManifest bounds an encoded manifest in bytes: a state of 64 GiB and
// the largest horizon and subscriptions.
const MaxManifest = 64 << 20

// Manifest describes a checkpoint: where in the chain it is, and the chunks
// whose contents, one after the other, are the daemon's state.
type Manifest struct {
	Origin        chain.Origin
	Daemon        string
	Head          chain.Link   // covered link
	Frontier      []chain.Hash // over all links up to it
	Horizon       []byte
	Subscriptions []byte
	ChunkSize     uint32
	Size          uint64 // of the state in bytes
	Chunks        []chain.Hash
}

const manifestMagic = "USC1"

// ErrManifest: the bytes are not those of a manifest.
var ErrManifest = errors.New("malformed manifest")

// Marshal encodes the manifest.
func (m *Manifest) Marshal() []byte {
	b := append([]byte(manifestMagic), m.Origin[:]...)
	link := m.Head.Bytes()
	b = append(b, link[:]...)
	for _, h := range m.Frontier {
		b = append(b, h[:]...)
	}
	for _, part := range [][]byte{[]byte(m.Daemon), m.Horizon, m.Subscriptions} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint32(b, m.ChunkSize)
	b = binary.BigEndian.AppendUint64(b, m.Size)
	for _, c := range m.Chunks {
		b = append(b, c[:]...)
	}
	return b
}

// Digest identifies the manifest, and so the checkpoint.
func (m *Manifest) Digest() chain.Hash { return chain.Derive("manifest", m.Marshal()) }

// ParseManifest reads what Marshal wrote.
func ParseManifest(b []byte) (*Manifest, error) {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrManifest, what) }
	const fixed = 4 + 32 + chain.LinkSize
	if len(b) < fixed || len(b) > MaxManifest || string(b[:4]) != manifestMagic {
		return nil, bad(fmt.Sprintf("%d bytes", len(b)))
	}
	m := &Manifest{Origin: chain.Origin(b[4:36])}
	var err error
	if m.Head, err = chain.ParseLink(b[36:fixed]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	rest := b[fixed:]
	n := bits.OnesCount64(m.Head.Seq + 1)
	if m.Head.Origin != m.Origin || len(rest) < 32*n {
		return nil, bad("its head")
	}
	for range n {
		m.Frontier, rest = append(m.Frontier, chain.Hash(rest[:32])), rest[32:]
	}
	var name []byte
	for _, part := range []*[]byte{&name, &m.Horizon, &m.Subscriptions} {
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, bad("a part ends too early")
		}
		size := binary.BigEndian.Uint32(rest)
		*part, rest = rest[4:4+size:4+size], rest[4+size:]
	}
	if len(rest) < 12 || len(name) > 256 {
		return nil, bad("it ends too early")
	}
	m.Daemon = string(name)
	m.ChunkSize, m.Size, rest = binary.BigEndian.Uint32(rest), binary.BigEndian.Uint64(rest[4:]), rest[12:]
	if m.ChunkSize != ChunkSize || len(rest)%32 != 0 || m.Size > uint64(len(rest)/32)*ChunkSize || (m.Size+ChunkSize-1)/ChunkSize != uint64(len(rest)/32) {
		return nil, bad(fmt.Sprintf("%d bytes of state in chunks of %d", m.Size, m.ChunkSize))
	}
	for len(rest) > 0 {
		m.Chunks, rest = append(m.Chunks, chain.Hash(rest[:32])), rest[32:]
	}
	return m, nil
}
