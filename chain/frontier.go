package chain

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
)

// Frontier is the right edge of an RFC 6962 tree: the roots of the complete
// subtrees from which the tree's root follows. It takes new leaves without
// knowing the old ones. The zero value is the empty tree; a copy is independent.
type Frontier struct {
	size  uint64
	nodes [64]Hash // nodes[i] is set where bit i of size is
}

// LeafHash is the RFC 6962 leaf hash of a link.
func LeafHash(l *Link) Hash {
	var b [1 + LinkSize]byte
	l.put((*[LinkSize]byte)(b[1:]))
	return sha256.Sum256(b[:])
}

func nodeHash(left, right Hash) Hash {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// Size is the number of leaves.
func (f *Frontier) Size() uint64 { return f.size }

// Append adds a leaf.
func (f *Frontier) Append(leaf Hash) { f.grow(leaf, nil) }

// Grow is Append that also appends to stored what the tree stores with this
// leaf: the leaf, then the roots of the subtrees that it completes, the smallest
// first. That is the order of golang.org/x/mod/sumdb/tlog's stored hashes.
func (f *Frontier) Grow(leaf Hash, stored []Hash) []Hash {
	f.grow(leaf, func(h Hash) { stored = append(stored, h) })
	return stored
}

// Take is Grow for a leaf by which another frontier of the same leaves has grown
// already: stored begins with what that gave. It hashes nothing, and returns the
// rest of stored; false if it is too short.
func (f *Frontier) Take(stored []Hash) ([]Hash, bool) {
	i := bits.TrailingZeros64(^f.size)
	if len(stored) <= i {
		return stored, false
	}
	clear(f.nodes[:i])
	f.nodes[i] = stored[i]
	f.size++
	return stored[i+1:], true
}

func (f *Frontier) grow(leaf Hash, store func(Hash)) {
	i := 0
	for ; ; i++ {
		if store != nil {
			store(leaf)
		}
		if f.size>>i&1 == 0 {
			break
		}
		leaf = nodeHash(f.nodes[i], leaf)
		f.nodes[i] = Hash{}
	}
	f.nodes[i] = leaf
	f.size++
}

// Root is the tree's root; that of the empty tree is SHA-256 of nothing.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		return sha256.Sum256(nil)
	}
	i := bits.TrailingZeros64(f.size)
	root := f.nodes[i]
	for i++; i < bits.Len64(f.size); i++ {
		if f.size>>i&1 == 1 {
			root = nodeHash(f.nodes[i], root)
		}
	}
	return root
}

// Hashes are the roots of the complete subtrees, the largest first.
func (f *Frontier) Hashes() []Hash {
	out := make([]Hash, 0, bits.OnesCount64(f.size))
	for i := bits.Len64(f.size) - 1; i >= 0; i-- {
		if f.size>>i&1 == 1 {
			out = append(out, f.nodes[i])
		}
	}
	return out
}

// NewFrontier puts a frontier together from what Hashes gave.
func NewFrontier(size uint64, hashes []Hash) (Frontier, error) {
	f := Frontier{size: size}
	if size >= 1<<63 || len(hashes) != bits.OnesCount64(size) {
		return Frontier{}, fmt.Errorf("a frontier of size %d has %d hashes, not %d", size, bits.OnesCount64(size), len(hashes))
	}
	for i := bits.Len64(size) - 1; i >= 0; i-- {
		if size>>i&1 == 1 {
			f.nodes[i], hashes = hashes[0], hashes[1:]
		}
	}
	return f, nil
}
