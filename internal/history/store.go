// Package history keeps every link of a chain on one member's disk, with the
// tree hashes over them and the records that some carry, so that any proof can
// be made in O(log n) reads.
//
// Three files: links (224 bytes each, by seq), hashes (32 bytes each, in the
// order of golang.org/x/mod/sumdb/tlog's stored hashes) and records with an
// index. Everything authenticates itself: a link against the hash that the
// tree has of it, a hash against the root, a record against its link. One
// goroutine writes; any number read at the same time.
package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Store is a chain's history. It implements continuity.Source.
type Store struct {
	links, hashes, records, index durable.File
	size                          atomic.Uint64
	edge                          chain.Frontier // over all links; the writer's
	buf                           []byte         // writer's, for what is written next
	recEnd                        int64          // writer's
	idxN                          atomic.Int64
	origin                        chain.Origin
}

const (
	frameHead = 8 + 4 + 32 // seq, length, digest
	idxSize   = 16         // seq, offset
	maxRecord = 1 << 20
)

// Open opens or makes the store of a chain. Links whose hashes are not whole, as
// a crash or damage leaves them, get them again as far as the links are whole;
// what is behind is cut.
func Open(fs durable.FS, origin chain.Origin) (*Store, error) {
	if err := fs.MkdirAll("."); err != nil {
		return nil, err
	}
	s := &Store{origin: origin}
	for name, f := range map[string]*durable.File{"links": &s.links, "hashes": &s.hashes, "records": &s.records, "index": &s.index} {
		var err error
		if *f, err = fs.Open(name, true); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		*f = durable.Steady(*f)
	}
	if err := fs.SyncDir("."); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) recover() error {
	nl, err := s.links.Size()
	if err != nil {
		return err
	}
	nh, err := s.hashes.Size()
	if err != nil {
		return err
	}
	n := nl / chain.LinkSize
	for n > 0 && tlog.StoredHashCount(n) > nh/32 {
		n--
	}
	ni, err := s.index.Size()
	if err != nil {
		return err
	}
	s.idxN.Store(ni / idxSize)
	s.size.Store(uint64(n))
	edge, err := s.readEdge(uint64(n))
	if err != nil {
		return err
	}
	whole, err := s.walk(uint64(n), uint64(nl/chain.LinkSize), &edge, s.putHashes)
	if err != nil {
		return err
	}
	s.size.Store(whole)
	return s.cut(whole)
}

// Size is the number of links.
func (s *Store) Size() uint64 { return s.size.Load() }

// Append adds the next links. It does not sync.
func (s *Store) Append(links []chain.Link) error {
	edge, tree := s.edge, make([]chain.Hash, 0, 2*len(links)) // a tree of n leaves has n-1 nodes above them
	for i := range links {
		tree = edge.Grow(chain.LeafHash(&links[i]), tree)
	}
	return s.AppendTree(links, tree)
}

// AppendTree is Append for links of which it is known what the tree stores with
// them, as [chain.Frontier.Grow] gives it: they are not hashed again.
func (s *Store) AppendTree(links []chain.Link, tree []chain.Hash) error {
	if len(links) == 0 {
		return nil
	}
	size, edge := s.size.Load(), s.edge
	at, hashes, whole := tlog.StoredHashIndex(0, int64(size)), tree, true
	buf := s.buf[:0]
	for i := range links {
		l := &links[i]
		if l.Seq != size+uint64(i) || l.Origin != s.origin {
			return fmt.Errorf("link at seq %d of %s cannot follow %d links of %s", l.Seq, l.Origin.Short(), size+uint64(i), s.origin.Short())
		}
		b := l.Bytes()
		buf = append(buf, b[:]...)
		if tree, whole = edge.Take(tree); !whole {
			break
		}
	}
	if !whole || len(tree) > 0 {
		return fmt.Errorf("%d hashes are not those that the tree stores with %d links after %d", len(hashes), len(links), size)
	}
	if _, err := s.links.WriteAt(buf, int64(size)*chain.LinkSize); err != nil {
		return err
	}
	buf = buf[:0]
	for i := range hashes {
		buf = append(buf, hashes[i][:]...)
	}
	s.buf = buf
	if _, err := s.hashes.WriteAt(buf, at*32); err != nil {
		return err
	}
	s.edge = edge
	s.size.Store(size + uint64(len(links)))
	return nil
}

// ReadHashes reads stored hashes by tlog's index.
func (s *Store) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	end := tlog.StoredHashCount(int64(s.Size()))
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= end {
			return nil, fmt.Errorf("stored hash %d is not there yet", x)
		}
		if _, err := s.hashes.ReadAt(out[i][:], x*32); err != nil {
			return nil, fmt.Errorf("stored hash %d: %w: %w", x, durable.ErrDamaged, err)
		}
	}
	return out, nil
}

// edgeIndexes is where the roots of the complete subtrees over size links are
// stored, the largest first.
func edgeIndexes(size uint64) (at []int64) {
	for i := bits.Len64(size) - 1; i >= 0; i-- {
		if size>>i&1 == 1 {
			at = append(at, tlog.StoredHashIndex(i, int64(size>>i)-1))
		}
	}
	return at
}

// readEdge reads the roots of the complete subtrees over size links, from which
// the tree grows on.
func (s *Store) readEdge(size uint64) (chain.Frontier, error) {
	hs, err := s.ReadHashes(edgeIndexes(size))
	if err != nil {
		return chain.Frontier{}, err
	}
	roots := make([]chain.Hash, len(hs))
	for i, h := range hs {
		roots[i] = chain.Hash(h)
	}
	return chain.NewFrontier(size, roots)
}

// Link reads a link and checks it against the tree.
func (s *Store) Link(seq uint64) (chain.Link, error) {
	if seq >= s.Size() {
		return chain.Link{}, fmt.Errorf("link %d: %w: there are %d", seq, os.ErrNotExist, s.Size())
	}
	var b [chain.LinkSize]byte
	if _, err := s.links.ReadAt(b[:], int64(seq)*chain.LinkSize); err != nil {
		return chain.Link{}, fmt.Errorf("link %d: %w: %w", seq, durable.ErrDamaged, err)
	}
	l, err := chain.ParseLink(b[:])
	if err != nil {
		return l, fmt.Errorf("link %d: %w: %w", seq, durable.ErrDamaged, err)
	}
	hs, err := s.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(seq))})
	if err != nil {
		return l, err
	}
	if l.Seq != seq || l.Origin != s.origin || chain.Hash(hs[0]) != chain.LeafHash(&l) {
		return l, fmt.Errorf("link %d: %w: the tree has another one", seq, durable.ErrDamaged)
	}
	return l, nil
}

// PutRecord stores the record of a link, in rising order of seq. Storing one
// again does nothing.
func (s *Store) PutRecord(seq uint64, record []byte) error {
	n := s.idxN.Load()
	if n > 0 {
		last, _, err := s.idx(n - 1)
		if err != nil {
			return err
		}
		if last >= seq {
			return nil
		}
	}
	if len(record) > maxRecord {
		return fmt.Errorf("record of %d bytes at seq %d", len(record), seq)
	}
	b := binary.BigEndian.AppendUint64(nil, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(len(record)))
	d := chain.Derive("stored record", b, record)
	b = append(append(b, d[:]...), record...)
	if _, err := s.records.WriteAt(b, s.recEnd); err != nil {
		return err
	}
	return s.putIndex(seq, record)
}

// putIndex names the record that follows those that are named.
func (s *Store) putIndex(seq uint64, record []byte) error {
	n := s.idxN.Load()
	x := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seq), uint64(s.recEnd))
	if _, err := s.index.WriteAt(x, n*idxSize); err != nil {
		return err
	}
	s.recEnd += frameHead + int64(len(record))
	s.idxN.Store(n + 1)
	return nil
}

func (s *Store) idx(i int64) (seq uint64, off int64, err error) {
	var b [idxSize]byte
	if _, err := s.index.ReadAt(b[:], i*idxSize); err != nil {
		return 0, 0, fmt.Errorf("record index: %w: %w", durable.ErrDamaged, err)
	}
	seq, off = binary.BigEndian.Uint64(b[:]), int64(binary.BigEndian.Uint64(b[8:]))
	if off < 0 {
		return 0, 0, fmt.Errorf("record index: %w: an offset of %d", durable.ErrDamaged, off)
	}
	return seq, off, nil
}

// Record reads the record of the link at seq.
func (s *Store) Record(seq uint64) ([]byte, error) {
	lo, hi := int64(0), s.idxN.Load()
	for lo < hi {
		mid := (lo + hi) / 2
		at, off, err := s.idx(mid)
		switch {
		case err != nil:
			return nil, err
		case at == seq:
			return s.recordAt(seq, off)
		case at < seq:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil, fmt.Errorf("record of seq %d: %w", seq, os.ErrNotExist)
}

func (s *Store) recordAt(seq uint64, off int64) ([]byte, error) {
	at, rec, err := s.frameAt(off)
	if err == nil && at != seq {
		err = durable.ErrDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("record of seq %d: %w", seq, err)
	}
	return rec, nil
}

// frameAt reads the record at an offset, and the seq that it says.
func (s *Store) frameAt(off int64) (seq uint64, rec []byte, err error) {
	var head [frameHead]byte
	if _, err := s.records.ReadAt(head[:], off); err != nil {
		return 0, nil, durable.ErrDamaged
	}
	n := binary.BigEndian.Uint32(head[8:])
	end, err := s.records.Size()
	if err != nil {
		return 0, nil, err
	}
	if n > maxRecord || int64(n) > end-off-frameHead {
		return 0, nil, durable.ErrDamaged
	}
	rec = make([]byte, n)
	if _, err := s.records.ReadAt(rec, off+frameHead); err != nil || chain.Derive("stored record", head[:12], rec) != chain.Hash(head[12:]) {
		return 0, nil, durable.ErrDamaged
	}
	return binary.BigEndian.Uint64(head[:]), rec, nil
}

// Truncate drops all links and records from size on.
func (s *Store) Truncate(size uint64) error {
	if size > s.Size() {
		return fmt.Errorf("cannot cut %d links to %d", s.Size(), size)
	}
	return s.cut(size)
}

func (s *Store) cut(size uint64) error {
	edge, err := s.readEdge(size)
	if err != nil {
		return err
	}
	s.edge = edge
	s.size.Store(size)
	n, next := s.idxN.Load(), uint64(0)
	s.recEnd = 0
	for ; n > 0; n-- {
		seq, off, err := s.idx(n - 1)
		if err != nil || seq >= size {
			continue
		}
		if rec, err := s.recordAt(seq, off); err == nil {
			s.recEnd, next = off+frameHead+int64(len(rec)), seq+1
			break
		}
		// Torn by a crash: its link brings it again.
	}
	s.idxN.Store(n)
	for { // records that the index does not name, if it was damaged itself
		seq, rec, err := s.frameAt(s.recEnd)
		if err != nil || seq < next || seq >= size {
			break
		}
		if err := s.putIndex(seq, rec); err != nil {
			return err
		}
		next = seq + 1
	}
	return errors.Join(
		s.links.Truncate(int64(size)*chain.LinkSize), s.hashes.Truncate(tlog.StoredHashCount(int64(size))*32),
		s.index.Truncate(s.idxN.Load()*idxSize), s.records.Truncate(s.recEnd))
}

// Check compares the tree with a frontier of the same size, and the newest
// links with the tree.
func (s *Store) Check(f chain.Frontier) error {
	size := s.Size()
	if f.Size() != size {
		return fmt.Errorf("history has %d links, %d were expected", size, f.Size())
	}
	root, err := tlog.TreeHash(int64(size), s)
	if err != nil {
		return fmt.Errorf("%w: %w", durable.ErrDamaged, err)
	}
	if chain.Hash(root) != f.Root() {
		return fmt.Errorf("%w: the history's root is not the group's", durable.ErrDamaged)
	}
	for seq := size - min(size, 64); seq < size; seq++ {
		if _, err := s.Link(seq); err != nil {
			return err
		}
	}
	return nil
}

// Sync makes everything appended durable.
func (s *Store) Sync() error {
	return errors.Join(s.links.Sync(), s.hashes.Sync(), s.records.Sync(), s.index.Sync())
}

// Close closes the files; it does not sync.
func (s *Store) Close() error {
	var errs []error
	for _, f := range []durable.File{s.links, s.hashes, s.records, s.index} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
