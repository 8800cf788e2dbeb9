// Package outputs keeps a group's outputs on one member's disk, by number, for
// as long as the retention says, whatever becomes of the journal.
//
// Segments are files named after their first output. A record carries number,
// seq, term, payload and a digest. Only the end of the newest segment can be
// torn by a crash; anything else that does not read back is [durable.ErrDamaged].
// All methods may be called at the same time.
package outputs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Retention says how many outputs are kept, besides those that [Store.Prune] is
// told to. What is in the newest segment is always kept.
type Retention struct {
	Bytes        int64
	SegmentBytes int64 // 0: 16 MiB
}

// PrunedError: the output asked for is no longer kept.
type PrunedError struct{ Oldest uint64 }

func (e *PrunedError) Error() string { return fmt.Sprintf("the oldest output kept is %d", e.Oldest) }

// DamagedError names the outputs that cannot be read.
type DamagedError struct{ From, To uint64 }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("outputs %d to %d: %v", e.From, e.To, durable.ErrDamaged)
}

// Is makes errors.Is(err, durable.ErrDamaged) true.
func (e *DamagedError) Is(target error) bool { return target == durable.ErrDamaged }

const (
	headSize   = 4 + 8 + 8 + 8 + 16 // length, number, seq, term, digest
	maxPayload = 4 << 20
	suffix     = ".out"
	sparse     = 64 // one index point in so many records
	maxKept    = 1 << 20
	maxRead    = 8 << 20 // payloads that are read at a time
)

// Store is the outputs on disk.
type Store struct {
	fs   durable.FS
	keep Retention

	writer   sync.Mutex // held over all of a change, taken before the others
	learning sync.Mutex // held while a segment is scanned, taken before mu
	buf      []byte     // the writer's, for what is written next
	sizes    []int64

	mu     sync.RWMutex // guards what readers see; only a writer changes it, or who learns a segment
	segs   []*segment
	next   uint64
	oldest uint64
}

// Open opens or makes the store. It reads the newest segment; the others when
// they are needed, so that what is kept makes no start longer.
func Open(fs durable.FS, keep Retention) (*Store, error) {
	if keep.SegmentBytes == 0 {
		keep.SegmentBytes = 16 << 20
	}
	s := &Store{fs: fs, keep: keep, next: 1, oldest: 1}
	if err := fs.MkdirAll("."); err != nil {
		return nil, err
	}
	names, err := fs.List(".")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		first, err := strconv.ParseUint(strings.TrimSuffix(n, suffix), 10, 64)
		if err != nil || !strings.HasSuffix(n, suffix) {
			continue
		}
		f, err := fs.Open(n, false)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		g := &segment{first: first, file: durable.Steady(f), unread: true}
		s.segs = append(s.segs, g)
		if g.size, err = f.Size(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	slices.SortFunc(s.segs, func(a, b *segment) int { return int(int64(a.first) - int64(b.first)) })
	if n := len(s.segs); n > 0 {
		for i, g := range s.segs[:n-1] {
			g.next = s.segs[i+1].first
		}
		newest := s.segs[n-1]
		newest.scan() // has no error: the newest ends where it cannot be read
		s.oldest, s.next = s.segs[0].first, newest.next
	}
	return s, nil
}

// Next is the number that the next output will have; Oldest the first kept.
func (s *Store) Next() uint64 { s.mu.RLock(); defer s.mu.RUnlock(); return s.next }

// Oldest is the number of the oldest output that is kept.
func (s *Store) Oldest() uint64 { s.mu.RLock(); defer s.mu.RUnlock(); return s.oldest }

// Append adds the next outputs. It does not sync them, but what is before them
// if they begin a file: with [durable.ErrUnsure] that has failed.
func (s *Store) Append(outs []chain.Output) error {
	if len(outs) == 0 {
		return nil
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	if outs[0].Number != s.next {
		return fmt.Errorf("output %d cannot follow %d", outs[0].Number, s.next-1)
	}
	g, err := s.tail()
	if err != nil {
		return err
	}
	buf, sizes, err := s.encode(outs)
	if err != nil {
		return err
	}
	if _, err := g.file.WriteAt(buf, g.size); err != nil {
		g.torn = true // perhaps some of it is there
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range sizes {
		g.note(n, outs[i].Seq)
	}
	s.next = g.next
	return nil
}

// encode gives the records of outputs that follow each other, and their sizes.
// Both are valid until the writer's next.
func (s *Store) encode(outs []chain.Output) ([]byte, []int64, error) {
	buf, sizes := s.buf[:0], s.sizes[:0]
	for i := range outs {
		o := &outs[i]
		if o.Number != outs[0].Number+uint64(i) || len(o.Payload) > maxPayload {
			return nil, nil, fmt.Errorf("output %d of %d bytes does not fit", o.Number, len(o.Payload))
		}
		at := len(buf)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(o.Payload)))
		for _, v := range []uint64{o.Number, o.Seq, o.Term} {
			buf = binary.BigEndian.AppendUint64(buf, v)
		}
		d := digest(buf[at:], o.Payload)
		buf = append(append(buf, d[:16]...), o.Payload...)
		sizes = append(sizes, int64(len(buf)-at))
	}
	if s.sizes = sizes; cap(buf) <= maxKept {
		s.buf = buf
	}
	return buf, sizes, nil
}

// Read reads up to max outputs from a number on, at least one and no more than
// some 8 MiB; none if it is the next one or later.
func (s *Store) Read(from uint64, max int) ([]chain.Output, error) {
	for {
		outs, unread, err := s.read(from, max)
		if unread == nil {
			return outs, err
		}
		if s.learn(unread) != nil {
			return nil, &DamagedError{unread.first, unread.next - 1}
		}
	}
}

// Peek is Read of what can be read at once: it gives nothing, or less, where a
// file must be gone through first.
func (s *Store) Peek(from uint64, max int) ([]chain.Output, error) {
	outs, _, err := s.read(from, max)
	return outs, err
}

// read gives the segment that must be learned first, if there is one.
func (s *Store) read(from uint64, max int) (outs []chain.Output, unread *segment, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from < s.oldest {
		return nil, nil, &PrunedError{s.oldest}
	}
	size := 0
	for _, g := range s.segs {
		switch {
		case g.next <= from:
			continue
		case g.unread:
			return nil, g, nil
		case from >= g.whole && len(outs) == 0:
			return nil, nil, g.damage()
		case from >= g.whole:
			return outs, nil, nil
		}
		i := (from - g.first) / sparse
		off, number := g.points[i], g.first+i*sparse
		for ; number < g.whole && len(outs) < max; number++ {
			o, n, err := g.read(g.file, off, g.size, number)
			if err != nil && len(outs) == 0 {
				return nil, nil, &DamagedError{number, g.next - 1}
			}
			if err != nil {
				return outs, nil, nil
			}
			off += n
			if number < from {
				continue
			}
			if size += len(o.Payload); size > maxRead && len(outs) > 0 {
				return outs, nil, nil
			}
			outs = append(outs, o)
		}
		if len(outs) >= max || g.broken() {
			break
		}
		from = g.next
	}
	return outs, nil, nil
}

// Truncate drops the outputs from next on, and what is damaged right before it.
// Also after an error the store goes on after what it has.
func (s *Store) Truncate(next uint64) (err error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	if err := s.learnBefore(next); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := false
	defer func() {
		s.next = min(s.next, next)
		s.ends()
		if err == nil && removed {
			err = s.fs.SyncDir(".")
		}
	}()
	for len(s.segs) > 0 {
		g := s.segs[len(s.segs)-1]
		if g.next <= next {
			break
		}
		if g.first >= next {
			removed = true
			if err := s.remove(len(s.segs) - 1); err != nil {
				return err
			}
			continue
		}
		next = min(next, g.whole)
		err := g.cut(next)
		if errors.Is(err, durable.ErrDamaged) {
			next = g.whole
			err = g.cut(next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ends says where the store goes on after what it has. Both locks are held.
func (s *Store) ends() {
	if n := len(s.segs); n > 0 {
		s.next = s.segs[n-1].next
	} else {
		s.oldest = s.next
	}
}

// Skip gives up what is kept and goes on at a number: what lies before it is
// nowhere to be had.
func (s *Store) Skip(to uint64) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segs) > 0 {
		if err := s.remove(len(s.segs) - 1); err != nil {
			s.ends()
			return err
		}
	}
	s.next, s.oldest = to, to
	return s.fs.SyncDir(".")
}

// Prune removes whole segments that are too many, or of which the newest output
// is old, which is asked by its seq. A segment that is not whole is as old as the
// next one.
func (s *Store) Prune(old func(seq uint64) bool) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	total := int64(0)
	s.mu.RLock()
	for _, g := range s.segs {
		total += g.size
	}
	s.mu.RUnlock()
	for len(s.segs) > 1 {
		g := s.segs[0]
		if newest, known := s.newestOf(0); total <= s.keep.Bytes && !(known && old(newest)) {
			break
		}
		total -= g.size
		s.mu.Lock()
		err := s.remove(0)
		s.oldest = s.segs[0].first
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// newestOf is the seq of the newest output of a segment, or of the first whole
// one after it, if one is known.
func (s *Store) newestOf(i int) (seq uint64, known bool) {
	for _, g := range s.segs[i:] {
		if s.learn(g) != nil {
			return 0, false
		}
		if !g.broken() {
			return g.last, g.next > g.first
		}
	}
	return 0, false
}

// Sync makes everything appended durable. Nobody waits for it.
func (s *Store) Sync() error {
	for {
		f := s.newest()
		if f == nil {
			return nil
		}
		err := f.Sync()
		if err == nil || !errors.Is(err, os.ErrClosed) || f == s.newest() {
			return err
		} // else it was cut off or repaired meanwhile
	}
}

func (s *Store) newest() durable.File {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.segs); n > 0 {
		return s.segs[n-1].file
	}
	return nil
}

// Close closes the files; it does not sync.
func (s *Store) Close() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, g := range s.segs {
		errs = append(errs, g.file.Close())
	}
	s.segs = nil
	return errors.Join(errs...)
}
