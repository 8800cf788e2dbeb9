package history

import (
	"bytes"
	"errors"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
)

// walk gives each of the links [from, to) what the tree stores with it, as long
// as each follows the one before, and says how far they do. edge is over the
// links before from.
func (s *Store) walk(from, to uint64, edge *chain.Frontier, each func(seq uint64, tree []chain.Hash) error) (uint64, error) {
	var b [chain.LinkSize]byte
	var parent chain.Hash
	seq := from
	if from > 0 {
		seq-- // for its hash
	}
	for ; seq < to; seq++ {
		if _, err := s.links.ReadAt(b[:], int64(seq)*chain.LinkSize); err != nil {
			break
		}
		l, err := chain.ParseLink(b[:])
		if err != nil || l.Seq != seq || l.Origin != s.origin || seq >= from && l.Parent != parent {
			break
		}
		if parent = l.Hash(); seq < from {
			continue
		}
		if err := each(seq, edge.Grow(chain.LeafHash(&l), nil)); err != nil {
			return seq, err
		}
	}
	return max(seq, from), nil
}

// putHashes stores again what the tree stores with a link.
func (s *Store) putHashes(seq uint64, tree []chain.Hash) error {
	var buf []byte
	for i := range tree {
		buf = append(buf, tree[i][:]...)
	}
	_, err := s.hashes.WriteAt(buf, tlog.StoredHashIndex(0, int64(seq))*32)
	return err
}

// rehash makes all hashes again, if the links are whole: those say which hash is
// right, and the frontier says which links are.
func (s *Store) rehash(f chain.Frontier) (bool, error) {
	var edge chain.Frontier
	n, err := s.walk(0, f.Size(), &edge, func(uint64, []chain.Hash) error { return nil })
	if err != nil || n < f.Size() || edge.Root() != f.Root() {
		return false, err
	}
	edge = chain.Frontier{}
	if n, err = s.walk(0, f.Size(), &edge, s.putHashes); err != nil || n < f.Size() {
		return false, err
	}
	s.edge = f
	s.size.Store(n)
	return true, nil
}

// Resume has the history go on after a frontier, also where links and hashes
// before it are damaged or missing and nobody can repair them. Hashes are made
// again from whole links. Else all stays as it is, and is damaged for whoever reads
// it; only the hashes are put right from which the tree grows on.
func (s *Store) Resume(f chain.Frontier) error {
	size := f.Size()
	if whole, err := s.rehash(f); whole || err != nil {
		return err
	}
	if err := errors.Join(s.links.Truncate(int64(size)*chain.LinkSize), s.hashes.Truncate(tlog.StoredHashCount(int64(size))*32)); err != nil {
		return err
	}
	roots := f.Hashes()
	for i, at := range edgeIndexes(size) {
		var b [32]byte
		if _, err := s.hashes.ReadAt(b[:], at*32); err == nil && bytes.Equal(b[:], roots[i][:]) {
			continue
		}
		if _, err := s.hashes.WriteAt(roots[i][:], at*32); err != nil {
			return err
		}
	}
	s.edge = f
	s.size.Store(size)
	return nil
}
