package chain

import (
	"fmt"
	"math/bits"
)

// Seal is the record of a SEAL link: it names a checkpoint and the position
// that the checkpoint covers.
type Seal struct {
	Seq      uint64 // covered position
	Link     Hash   // hash of the link there
	Frontier []Hash // over the links up to and including it, largest subtree first
	Inputs   uint64
	Outputs  uint64
	Horizon  Hash   // digest of the exact horizon
	Manifest Hash   // digest of the checkpoint's manifest
	Size     uint64 // of the state in bytes
}

const sealMagic = "USS1"

// Marshal encodes the record.
func (s *Seal) Marshal() []byte {
	b := appendU64([]byte(sealMagic), s.Seq)
	b = append(b, s.Link[:]...)
	b = append(b, byte(len(s.Frontier)))
	for _, h := range s.Frontier {
		b = append(b, h[:]...)
	}
	b = appendU64(b, s.Inputs, s.Outputs)
	b = append(b, s.Horizon[:]...)
	b = append(b, s.Manifest[:]...)
	return appendU64(b, s.Size)
}

// ParseSeal reads what Marshal wrote.
func ParseSeal(b []byte) (*Seal, error) {
	r := reader{b: b}
	r.magic(sealMagic)
	s := &Seal{Seq: r.u64(), Link: r.hash()}
	n := int(r.u8())
	if r.err == nil && n != bits.OnesCount64(s.Seq+1) {
		return nil, fmt.Errorf("%w: seal at seq %d with a frontier of %d hashes", ErrRecord, s.Seq, n)
	}
	for range n {
		s.Frontier = append(s.Frontier, r.hash())
	}
	s.Inputs, s.Outputs, s.Horizon, s.Manifest, s.Size = r.u64(), r.u64(), r.hash(), r.hash(), r.u64()
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: seal: %w", ErrRecord, err)
	}
	return s, nil
}
