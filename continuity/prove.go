package continuity

import (
	"errors"
	"fmt"
	"math/bits"
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

// ErrTooLong: there were so many handoffs in between that the bundle would be
// over its bound. Prove to an older tree head first, and chain the bundles.
var ErrTooLong = errors.New("the bundle would be too long: prove in steps, to older tree heads first")

// Prove makes the bundle for somebody who holds the head of size old, up to a
// signed tree head. newest is the seq of the newest HANDOFF below it. It reads
// O(log n) hashes for every handoff in between.
func Prove(src Source, f *chain.Founding, old uint64, treeHead []byte, newest uint64) ([]byte, error) {
	th, err := OpenTreeHead(treeHead, f)
	if err != nil {
		return nil, err
	}
	n := th.Size
	if old == 0 || old > n || n > src.Size() || newest >= n {
		return nil, fmt.Errorf("no proof from size %d to %d with %d links at hand", old, n, src.Size())
	}
	var w strings.Builder
	fmt.Fprintf(&w, "%s\nfounding %s\n", bundleHeader, encode(f.Marshal()))
	if err := writeEdge(&w, src, "anchor", old-1); err != nil {
		return nil, err
	}
	groups, err := handoffs(src, old, n, newest)
	if err != nil {
		return nil, err
	}
	for i := len(groups) - 1; i >= 0; i-- {
		w.WriteString(groups[i])
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
	return []byte(w.String()), nil
}

// handoffs are the groups of all handoffs from old on, newest first; if there
// is none, the one under which old was made.
func handoffs(src Source, old, n, newest uint64) ([]string, error) {
	var groups []string
	size := 0
	for h := newest; h > 0; {
		if h < old && len(groups) > 0 {
			break
		}
		l, err := src.Link(h)
		if err != nil {
			return nil, err
		}
		data, err := src.Record(h)
		if err != nil {
			return nil, err
		}
		rec, err := chain.ParseHandoff(data)
		if err != nil {
			return nil, err
		}
		path, err := tlog.ProveRecord(int64(n), int64(h), src)
		if err != nil {
			return nil, err
		}
		var w strings.Builder
		b := l.Bytes()
		fmt.Fprintf(&w, "handoff %d %s\n", h, encode(b[:]))
		for _, x := range path {
			fmt.Fprintf(&w, "%s\n", encode(x[:]))
		}
		fmt.Fprintf(&w, "record %s\n", encode(data))
		groups = append(groups, w.String())
		if size += w.Len(); size > MaxBundle {
			return nil, ErrTooLong
		}
		h = rec.PrevHandoff
	}
	return groups, nil
}

// writeEdge writes a link with the frontier of the tree before it.
func writeEdge(w *strings.Builder, src Source, key string, seq uint64) error {
	l, err := src.Link(seq)
	if err != nil {
		return err
	}
	b := l.Bytes()
	fmt.Fprintf(w, "%s %d %s\n", key, seq, encode(b[:]))
	var at []int64
	offset := uint64(0)
	for i := bits.Len64(seq) - 1; i >= 0; i-- {
		if seq>>i&1 == 1 {
			at = append(at, tlog.StoredHashIndex(i, int64(offset>>i)))
			offset += 1 << i
		}
	}
	hs, err := src.ReadHashes(at)
	if err != nil {
		return err
	}
	for _, h := range hs {
		fmt.Fprintf(w, "%s\n", encode(h[:]))
	}
	return nil
}
