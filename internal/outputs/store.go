// Package outputs keeps a group's outputs on one member's disk, by number, for
// as long as the retention says, whatever becomes of the journal.
//
// Segments are files named after their first output. A record carries number,
// seq, term, payload and a digest. Only the end of the newest segment can be
// torn by a crash; anything else that does not read back is [durable.ErrDamaged].
// One goroutine writes; any number read at the same time.
package outputs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Retention says how long outputs are kept: up to an age and a total size.
// What is in the newest segment is always kept.
type Retention struct {
	Age          time.Duration
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
)

// Store is the outputs on disk.
type Store struct {
	fs     durable.FS
	keep   Retention
	mu     sync.RWMutex // guards the segment list; files are read without it
	segs   []*segment
	next   uint64
	oldest uint64
}

type segment struct {
	first  uint64
	next   uint64
	file   durable.File
	size   int64
	points []int64 // offset of records first, first+sparse, …
	newest time.Time
	broken bool
}

// Open opens or makes the store.
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
		s.segs = append(s.segs, &segment{first: first, next: first, file: f})
	}
	slices.SortFunc(s.segs, func(a, b *segment) int { return int(int64(a.first) - int64(b.first)) })
	for i, g := range s.segs {
		if err := g.scan(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		last := i == len(s.segs)-1
		if !last && g.next != s.segs[i+1].first {
			g.broken, g.next = true, s.segs[i+1].first
		}
		if last {
			if err := g.file.Truncate(g.size); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	if len(s.segs) > 0 {
		s.oldest, s.next = s.segs[0].first, s.segs[len(s.segs)-1].next
	}
	return s, nil
}

// scan finds the segment's whole records.
func (g *segment) scan() error {
	size, err := g.file.Size()
	if err != nil {
		return err
	}
	for g.size < size {
		_, n, err := g.read(g.size, size, g.next)
		if err != nil {
			return nil // torn or damaged: the caller decides by what follows
		}
		g.note(n)
	}
	g.newest = time.Now()
	return nil
}

func (g *segment) note(n int64) {
	if (g.next-g.first)%sparse == 0 {
		g.points = append(g.points, g.size)
	}
	g.next++
	g.size += n
}

// read reads the record with the number at off, which lies before end.
func (g *segment) read(off, end int64, number uint64) (chain.Output, int64, error) {
	bad := &DamagedError{number, number}
	var head [headSize]byte
	if _, err := g.file.ReadAt(head[:], off); err != nil {
		return chain.Output{}, 0, bad
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxPayload || off+headSize+int64(n) > end {
		return chain.Output{}, 0, bad
	}
	o := chain.Output{Number: binary.BigEndian.Uint64(head[4:]), Seq: binary.BigEndian.Uint64(head[12:]), Term: binary.BigEndian.Uint64(head[20:]), Payload: make([]byte, n)}
	if n > 0 {
		if _, err := g.file.ReadAt(o.Payload, off+headSize); err != nil {
			return chain.Output{}, 0, bad
		}
	}
	if d := digest(head[:28], o.Payload); o.Number != number || string(d[:16]) != string(head[28:]) {
		return chain.Output{}, 0, bad
	}
	return o, headSize + int64(n), nil
}

func digest(head, payload []byte) chain.Hash { return chain.Derive("stored output", head, payload) }

// Next is the number that the next output will have; Oldest the first kept.
func (s *Store) Next() uint64 { s.mu.RLock(); defer s.mu.RUnlock(); return s.next }

// Oldest is the number of the oldest output that is kept.
func (s *Store) Oldest() uint64 { s.mu.RLock(); defer s.mu.RUnlock(); return s.oldest }

// Append adds the next outputs. It does not sync.
func (s *Store) Append(outs []chain.Output) error {
	if len(outs) == 0 {
		return nil
	}
	if outs[0].Number != s.Next() {
		return fmt.Errorf("output %d cannot follow %d", outs[0].Number, s.Next()-1)
	}
	g, err := s.tail()
	if err != nil {
		return err
	}
	var buf []byte
	sizes := make([]int64, len(outs))
	for i := range outs {
		o := &outs[i]
		if o.Number != outs[0].Number+uint64(i) || len(o.Payload) > maxPayload {
			return fmt.Errorf("output %d of %d bytes does not fit", o.Number, len(o.Payload))
		}
		at := len(buf)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(o.Payload)))
		for _, v := range []uint64{o.Number, o.Seq, o.Term} {
			buf = binary.BigEndian.AppendUint64(buf, v)
		}
		d := digest(buf[at:], o.Payload)
		buf = append(append(buf, d[:16]...), o.Payload...)
		sizes[i] = int64(len(buf) - at)
	}
	if _, err := g.file.WriteAt(buf, g.size); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range sizes {
		g.note(n)
	}
	g.newest = time.Now()
	s.next = g.next
	return nil
}

// tail is the segment to append to.
func (s *Store) tail() (*segment, error) {
	if n := len(s.segs); n > 0 && !s.segs[n-1].broken && s.segs[n-1].next == s.next && s.segs[n-1].size < s.keep.SegmentBytes {
		return s.segs[n-1], nil
	}
	if n := len(s.segs); n > 0 {
		if err := s.segs[n-1].file.Sync(); err != nil {
			return nil, err
		}
	}
	f, err := s.fs.Open(fmt.Sprintf("%020d%s", s.next, suffix), true)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(0), s.fs.SyncDir(".")); err != nil {
		return nil, err
	}
	g := &segment{first: s.next, next: s.next, file: f}
	s.mu.Lock()
	s.segs = append(s.segs, g)
	s.mu.Unlock()
	return g, nil
}

// Read reads up to max outputs from a number on; none if it is the next one or later.
func (s *Store) Read(from uint64, max int) ([]chain.Output, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from < s.oldest {
		return nil, &PrunedError{s.oldest}
	}
	var out []chain.Output
	for _, g := range s.segs {
		if g.next <= from {
			continue
		}
		if g.broken {
			if len(out) > 0 {
				return out, nil
			}
			return nil, &DamagedError{g.first, g.next - 1}
		}
		i := (from - g.first) / sparse
		off, number := g.points[i], g.first+i*sparse
		for ; number < g.next && len(out) < max; number++ {
			o, n, err := g.read(off, g.size, number)
			if err != nil {
				if len(out) > 0 {
					return out, nil
				}
				return nil, &DamagedError{g.first, g.next - 1}
			}
			off += n
			if number >= from {
				out = append(out, o)
			}
		}
		if len(out) >= max {
			break
		}
		from = g.next
	}
	return out, nil
}

// Truncate drops the outputs from next on, and those of a damaged segment that
// reaches so far. Also after an error the store goes on after what it has.
func (s *Store) Truncate(next uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if n := len(s.segs); n > 0 {
			s.next = s.segs[n-1].next
		} else {
			s.next = min(s.next, next)
			s.oldest = s.next
		}
	}()
	for len(s.segs) > 0 {
		g := s.segs[len(s.segs)-1]
		if g.next <= next {
			break
		}
		if g.first >= next || g.broken {
			next = min(next, g.first)
			if err := s.remove(len(s.segs) - 1); err != nil {
				return err
			}
			continue
		}
		i := (next - g.first) / sparse
		off, number := g.points[i], g.first+i*sparse
		for number < next {
			_, n, err := g.read(off, g.size, number)
			if err != nil {
				return err
			}
			off, number = off+n, number+1
		}
		g.size, g.next, g.points = off, next, g.points[:(next-g.first+sparse-1)/sparse]
		if err := g.file.Truncate(off); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) remove(i int) error {
	g := s.segs[i]
	s.segs = slices.Delete(s.segs, i, i+1)
	return errors.Join(g.file.Close(), s.fs.Remove(fmt.Sprintf("%020d%s", g.first, suffix)))
}

// Skip gives up what is kept and goes on at a number: what lies before it is
// nowhere to be had.
func (s *Store) Skip(to uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segs) > 0 {
		if err := s.remove(len(s.segs) - 1); err != nil {
			return err
		}
	}
	s.next, s.oldest = to, to
	return s.fs.SyncDir(".")
}

// Replace puts a damaged segment's outputs back.
func (s *Store) Replace(outs []chain.Output) error {
	if len(outs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segs {
		if g.first != outs[0].Number || g.next != outs[len(outs)-1].Number+1 {
			continue
		}
		repaired := &Store{fs: s.fs.Sub("repair"), keep: Retention{SegmentBytes: 1 << 60}, next: g.first, oldest: g.first}
		if err := errors.Join(repaired.fs.RemoveAll("."), repaired.fs.MkdirAll("."), repaired.Append(outs), repaired.Sync()); err != nil {
			return err
		}
		name := fmt.Sprintf("%020d%s", g.first, suffix)
		if err := errors.Join(g.file.Close(), s.fs.Rename("repair/"+name, name)); err != nil {
			return err
		}
		*g = *repaired.segs[0]
		return nil
	}
	return fmt.Errorf("no segment holds exactly outputs %d to %d", outs[0].Number, outs[len(outs)-1].Number)
}

// Prune removes whole segments that are past the retention.
func (s *Store) Prune(now int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := int64(0)
	for _, g := range s.segs {
		total += g.size
	}
	for len(s.segs) > 1 {
		g := s.segs[0]
		if total <= s.keep.Bytes && now-g.newest.UnixNano() < int64(s.keep.Age) {
			break
		}
		total -= g.size
		if err := s.remove(0); err != nil {
			return err
		}
		s.oldest = s.segs[0].first
	}
	return nil
}

// Sync makes everything appended durable.
func (s *Store) Sync() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.segs); n > 0 {
		return s.segs[n-1].file.Sync()
	}
	return nil
}

// Close closes the files; it does not sync.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, g := range s.segs {
		errs = append(errs, g.file.Close())
	}
	s.segs = nil
	return errors.Join(errs...)
}
