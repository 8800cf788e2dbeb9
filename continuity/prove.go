package continuity

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
)

// Source is the history that a proof is made from.
type Source interface {
	Size() uint64
	Link(seq uint64) (chain.Link, error)
	Record(seq uint64) ([]byte, error)
	tlog.HashReader
}

// MaxBundle bounds a bundle in bytes; a longer one is never issued.
const MaxBundle = 64 << 10

const bundleHeader = "understudy/continuity@v1"

// MaxHandoffs is how many handoffs a bundle shows at most. Each takes less than
// 3 KiB below 2^40 links, so MaxBundle is not reached.
const MaxHandoffs = 20

// ErrTooLong: the bundle would be over its bound.
var ErrTooLong = errors.New("the bundle would be too long")

// Reach is how far a bundle from old goes at most: to size, or, if there are
// more than [MaxHandoffs] in between, right behind the last one that it can
// show. handoffs are the seqs of all of them, rising; those from size on do not
// count.
func Reach(old, size uint64, handoffs []uint64) uint64 {
	first, end := between(old, size, handoffs)
	if end-first > MaxHandoffs {
		return handoffs[first+MaxHandoffs-1] + 1
	}
	return size
}

// between are the bounds of the handoffs at old or later, and before size.
func between(old, size uint64, handoffs []uint64) (first, end int) {
	first, _ = slices.BinarySearch(handoffs, old)
	end, _ = slices.BinarySearch(handoffs, size)
	return first, end
}

// Prove makes the bundle for somebody who holds the head of size old, up to a
// signed tree head of a size that [Reach] allows. handoffs are the seqs of all
// of them, rising; those beyond the tree head do not count. It reads O(log n)
// hashes for every handoff in between, and checks what it gives.
func Prove(src Source, f *chain.Founding, old uint64, treeHead []byte, handoffs []uint64) ([]byte, error) {
	th, err := OpenTreeHead(treeHead, f)
	if err != nil {
		return nil, err
	}
	n := th.Size
	if old == 0 || old > n || n > src.Size() {
		return nil, fmt.Errorf("no proof from size %d to %d with %d links at hand", old, n, src.Size())
	}
	first, end := between(old, n, handoffs)
	switch {
	case end-first > MaxHandoffs:
		return nil, ErrTooLong
	case first == end && first > 0: // the one under which old was made
		first--
	}
	var w strings.Builder
	fmt.Fprintf(&w, "%s\nfounding %s\n", bundleHeader, encode(f.Marshal()))
	if err := writeEdge(&w, src, "anchor", old-1); err != nil {
		return nil, err
	}
	for _, h := range handoffs[first:end] {
		if err := writeHandoff(&w, src, h, n); err != nil {
			return nil, err
		}
	}
	if err := writeEdge(&w, src, "head", n-1); err != nil {
		return nil, err
	}
	proof, err := tlog.ProveTree(int64(n), int64(old), src)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&w, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintf(&w, "%s\n", encode(h[:]))
	}
	fmt.Fprintf(&w, "\n%s", treeHead)
	if w.Len() > MaxBundle {
		return nil, ErrTooLong
	}
	anchor, err := src.Link(old - 1)
	if err != nil {
		return nil, err
	}
	if _, _, err := verify([]byte(w.String()), Held{Size: old, Hash: anchor.Hash()}, f); err != nil {
		return nil, fmt.Errorf("the history at hand is damaged, a proof from it does not hold: %w", err)
	}
	return []byte(w.String()), nil
}

// writeHandoff writes the link of a handoff, its path in the tree of size n, and
// its record.
func writeHandoff(w *strings.Builder, src Source, seq, n uint64) error {
	l, err := src.Link(seq)
	if err != nil {
		return err
	}
	data, err := src.Record(seq)
	if err != nil {
		return err
	}
	path, err := tlog.ProveRecord(int64(n), int64(seq), src)
	if err != nil {
		return err
	}
	b := l.Bytes()
	fmt.Fprintf(w, "handoff %d %s\n", seq, encode(b[:]))
	for _, x := range path {
		fmt.Fprintf(w, "%s\n", encode(x[:]))
	}
	fmt.Fprintf(w, "record %s\n", encode(data))
	return nil
}

// writeEdge writes a link with the frontier of the tree before it.
func writeEdge(w *strings.Builder, src Source, key string, seq uint64) error {
	e, err := readEdge(src, seq)
	if err != nil {
		return err
	}
	b := e.link.Bytes()
	fmt.Fprintf(w, "%s %d %s\n", key, seq, encode(b[:]))
	for _, h := range e.frontier {
		fmt.Fprintf(w, "%s\n", encode(h[:]))
	}
	return nil
}

func readEdge(src Source, seq uint64) (e edge, err error) {
	if e.link, err = src.Link(seq); err != nil {
		return e, err
	}
	var at []int64
	offset := uint64(0)
	for i := bits.Len64(seq) - 1; i >= 0; i-- {
		if seq>>i&1 == 1 {
			at = append(at, tlog.StoredHashIndex(i, int64(offset>>i)))
			offset += 1 << i
		}
	}
	hs, err := src.ReadHashes(at)
	for _, h := range hs {
		e.frontier = append(e.frontier, chain.Hash(h))
	}
	return e, err
}

// RootAt is the root of the tree of a size, if the link before it is rooted and
// the stored hashes are those that it names: nobody should sign another.
func RootAt(src Source, size uint64) (chain.Hash, error) {
	if size == 0 || size > src.Size() {
		return chain.Hash{}, fmt.Errorf("no tree of size %d with %d links at hand", size, src.Size())
	}
	e, err := readEdge(src, size-1)
	switch {
	case err != nil:
		return chain.Hash{}, err
	case e.link.Flags&chain.Rooted == 0:
		return chain.Hash{}, fmt.Errorf("the link at seq %d names no root", size-1)
	}
	return e.root()
}
