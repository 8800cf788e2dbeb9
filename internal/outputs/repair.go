package outputs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Scrub reads the file with an output again and gives the number after that file.
// A [DamagedError] says what of it is not whole any more.
func (s *Store) Scrub(number uint64) (next uint64, err error) {
	g := s.holding(number)
	if g == nil {
		return s.Next(), nil
	}
	if err := s.learn(g); err != nil {
		return g.first + 1, err
	}
	s.mu.RLock()
	known := *g
	s.mu.RUnlock()
	if next = known.next; known.broken() {
		return next, known.damage()
	}
	if err := known.scan(); err == nil && !known.broken() {
		return next, nil
	}
	s.writer.Lock() // it was being changed, or is damaged
	defer s.writer.Unlock()
	if known, err = s.rescan(g); err == nil && known.broken() {
		err = known.damage()
	}
	return next, err
}

// holding is the segment that has an output, or is to have it.
func (s *Store) holding(number uint64) *segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.segs {
		if g.first <= number && number < g.next {
			return g
		}
	}
	return nil
}

// rescan goes through a segment anew, for what is on the disk now; the writer's.
func (s *Store) rescan(g *segment) (known segment, err error) {
	if err := s.learn(g); err != nil || !slices.Contains(s.segs, g) {
		return *g, err
	}
	end, err := g.file.Size()
	if err != nil {
		return *g, err
	}
	if known = *g; known.size < end {
		known.size = end
	}
	if err := known.scan(); err != nil {
		return *g, err
	}
	known.torn = known.size < end
	s.mu.Lock()
	defer s.mu.Unlock()
	*g = known
	return known, nil
}

// Patch puts outputs back that are damaged: a piece of them, from the first of a
// file on, which what is whole behind it may then be read again after. It gives
// the number at which the damage of the file begins now, or ends if there is none.
func (s *Store) Patch(outs []chain.Output) (from uint64, err error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	if len(outs) == 0 {
		return 0, errors.New("no outputs to put back")
	}
	g := s.holding(outs[0].Number)
	if g == nil {
		return 0, fmt.Errorf("no file holds output %d", outs[0].Number)
	}
	if err := s.learn(g); err != nil {
		return 0, err
	}
	known := *g
	if known.whole > outs[0].Number { // it is read from the disk that there is damage
		known, err = s.rescan(g)
	}
	if err != nil || known.whole != outs[0].Number {
		return known.whole, err
	}
	outs = outs[:min(uint64(len(outs)), known.next-known.whole)]
	buf, sizes, err := s.encode(outs)
	if err != nil {
		return 0, err
	}
	if _, err := g.file.WriteAt(buf, known.size); err != nil {
		return 0, err // what was behind may be damaged now: it is fetched as well
	}
	if err := g.file.Sync(); err != nil {
		return 0, fmt.Errorf("%w: %w", durable.ErrUnsure, err)
	}
	for i, n := range sizes {
		known.note(n, outs[i].Seq)
	}
	end, err := g.file.Size()
	if err == nil {
		err = known.goOn(end)
	}
	if err != nil {
		return 0, err
	}
	known.torn = known.size < end
	s.mu.Lock()
	defer s.mu.Unlock()
	*g = known
	return known.whole, nil
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
	if g.next > next && g.whole >= next {
		err = g.cut(next)
		if err != nil && !errors.Is(err, durable.ErrDamaged) {
			return false, err
		}
	}
	g.next = next
	return !g.broken(), nil
}
