package history

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Scrub reads up to n links from a position on and compares each with the one
// before it, with the hashes that are stored of it, and with its record. It
// gives the position to go on from, which is the size at the end. With
// [durable.ErrDamaged] the history is whole up to that position, if it was
// whole up to the one given, and must be cut there.
func (s *Store) Scrub(from uint64, n int) (uint64, error) {
	var parent chain.Hash
	if from > 0 && from < s.Size() {
		l, err := s.Link(from - 1)
		if err != nil {
			return from - 1, err
		}
		parent = l.Hash()
	}
	for ; n > 0 && from < s.Size(); n-- {
		l, err := s.scrub(from, parent)
		if err != nil {
			return from, err
		}
		parent = l.Hash()
		from++
	}
	return from, nil
}

func (s *Store) scrub(seq uint64, parent chain.Hash) (chain.Link, error) {
	l, err := s.Link(seq)
	if err != nil {
		return l, err
	}
	if l.Parent != parent {
		return l, fmt.Errorf("link %d: %w: it does not follow the one before it", seq, durable.ErrDamaged)
	}
	want, err := tlog.StoredHashesForRecordHash(int64(seq), tlog.Hash(chain.LeafHash(&l)), s)
	if err != nil {
		return l, err
	}
	at := make([]int64, len(want))
	for i := range at {
		at[i] = tlog.StoredHashIndex(0, int64(seq)) + int64(i)
	}
	have, err := s.ReadHashes(at)
	if err != nil {
		return l, err
	}
	for i := range want {
		if have[i] != want[i] {
			return l, fmt.Errorf("stored hash %d: %w: it is not that of link %d", at[i], durable.ErrDamaged, seq)
		}
	}
	if l.Kind == chain.KindStep || l.Kind == chain.KindGenesis {
		return l, nil
	}
	rec, err := s.Record(seq)
	if errors.Is(err, os.ErrNotExist) || err == nil && chain.RecordDigest(l.Kind, rec) != l.Input {
		err = fmt.Errorf("record of seq %d: %w: it is not the one that its link names", seq, durable.ErrDamaged)
	}
	return l, err
}
