package outputs

import (
	"errors"
	"fmt"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Replace puts a damaged segment's outputs back: all of them, or those from the
// first on, if others were appended since.
func (s *Store) Replace(outs []chain.Output) error {
	if len(outs) == 0 {
		return nil
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	first, next := outs[0].Number, outs[len(outs)-1].Number+1
	for _, g := range s.segs {
		if g.first != first {
			continue
		}
		if err := s.learn(g); err != nil {
			return err
		}
		if g.next >= next {
			return s.replace(g, outs)
		}
	}
	return fmt.Errorf("no segment holds outputs %d to %d", first, next-1)
}

func (s *Store) replace(g *segment, outs []chain.Output) error {
	repaired := &Store{fs: s.fs.Sub("repair"), keep: Retention{SegmentBytes: 1 << 60}, next: g.first, oldest: g.first}
	if err := errors.Join(repaired.fs.RemoveAll("."), repaired.fs.MkdirAll("."), repaired.Append(outs)); err != nil {
		return errors.Join(err, repaired.Close())
	}
	whole := repaired.segs[0]
	for whole.next < g.next { // what was appended since lies where it would lie here
		o, _, err := g.read(g.file, whole.size, g.size, whole.next)
		if err == nil {
			err = repaired.Append([]chain.Output{o})
		}
		if err != nil {
			return errors.Join(err, repaired.Close())
		}
	}
	if err := repaired.Sync(); err != nil {
		return errors.Join(err, repaired.Close())
	}
	if err := s.fs.Rename("repair/"+g.name(), g.name()); err != nil { // perhaps it was, and g's file has no name now
		return errors.Join(fmt.Errorf("%w: %w", durable.ErrUnsure, err), repaired.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := g.file.Close()
	*g = *whole
	return err
}

// Resume has the store go on at a number, also after damage that nobody can
// repair. What lies after the number is dropped. A file that is not whole up to
// it stays as it is, and its outputs count as damaged: then whole is false.
func (s *Store) Resume(next uint64) (whole bool, err error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	if err := s.learnBefore(next); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := false
	defer func() {
		if err == nil && removed {
			err = s.fs.SyncDir(".")
		}
	}()
	for len(s.segs) > 0 && s.segs[len(s.segs)-1].first >= next {
		removed = true
		if err := s.remove(len(s.segs) - 1); err != nil {
			return false, err
		}
	}
	s.next = next
	if len(s.segs) == 0 {
		s.oldest = next
		return next == 1, nil
	}
	g := s.segs[len(s.segs)-1]
	if g.next > next && !g.broken {
		err = g.cut(next)
		if err != nil && !errors.Is(err, durable.ErrDamaged) {
			return false, err
		}
	}
	if g.next == next && !g.broken {
		return true, nil
	}
	g.broken, g.next = true, next
	return false, nil
}
