package outputs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

type segment struct {
	first  uint64
	next   uint64 // where what follows it begins
	whole  uint64 // what is before it can be read: next, or less if the rest is damaged
	file   durable.File
	size   int64   // where what is whole ends
	points []int64 // offset of records first, first+sparse, …
	last   uint64  // seq of the newest whole output
	unread bool    // what is above is not known yet, and size is the file's
	torn   bool    // something lies after what is whole: a crash left it, or it is damaged
}

func (g *segment) name() string { return fmt.Sprintf("%020d%s", g.first, suffix) }

func (g *segment) broken() bool { return !g.unread && g.whole < g.next }

// damage is what of a broken segment cannot be read.
func (g *segment) damage() error { return &DamagedError{g.whole, g.next - 1} }

// scan finds the whole records of a segment that nobody has read yet. Its next
// is the first of the segment after it, where it ends for all that may follow; 0
// if there is none. A disk that does not answer says nothing of an older segment.
func (g *segment) scan() error {
	end := g.size
	g.size, g.whole, g.points, g.unread, g.torn = 0, g.first, nil, false, false
	return g.goOn(end)
}

// goOn is scan from where what is whole ends.
func (g *segment) goOn(end int64) error {
	newest, r := g.next == 0, &ahead{r: g.file}
	for g.size < end && (newest || g.whole < g.next) {
		o, n, err := g.read(r, g.size, end, g.whole)
		if err != nil {
			if !newest && !errors.Is(err, durable.ErrDamaged) {
				return err
			}
			g.torn = true
			break
		}
		g.note(n, o.Seq)
	}
	if newest {
		g.next = g.whole
	}
	return nil
}

// learn scans a segment that turns out to be needed. Nobody waits for it but who
// needs such a segment too. Only the writer changes it after that.
func (s *Store) learn(g *segment) error {
	s.learning.Lock()
	defer s.learning.Unlock()
	s.mu.RLock()
	if !g.unread {
		s.mu.RUnlock()
		return nil
	}
	known := *g
	s.mu.RUnlock()
	if err := known.scan(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.unread { // else it was repaired meanwhile
		*g = known
	}
	return nil
}

// learnBefore learns the segment that something at next would follow or be in.
// The writer's.
func (s *Store) learnBefore(next uint64) error {
	for _, g := range slices.Backward(s.segs) {
		if g.first < next {
			return s.learn(g)
		}
	}
	return nil
}

// note takes a record up that was written or read where what is whole ends.
func (g *segment) note(n int64, seq uint64) {
	if (g.whole-g.first)%sparse == 0 {
		g.points = append(g.points, g.size)
	}
	g.whole++
	g.next = max(g.next, g.whole)
	g.size += n
	g.last = seq
}

// cut drops the outputs from next on, which is not after what is whole. If it
// meets damage, what is whole ends there, and nothing is dropped.
func (g *segment) cut(next uint64) error {
	off, number := g.size, g.whole
	if next < number {
		i := (next - g.first) / sparse
		off, number = g.points[i], g.first+i*sparse
	}
	var err error
	for number < next && err == nil {
		var n int64
		if _, n, err = g.read(g.file, off, g.size, number); err == nil {
			off, number = off+n, number+1
		}
	}
	if err != nil && !errors.Is(err, durable.ErrDamaged) {
		return err
	}
	g.size, g.whole, g.points = off, number, g.points[:(number-g.first+sparse-1)/sparse]
	if err != nil {
		return err
	}
	g.next = next
	return g.trim()
}

// trim makes the file end with what is whole.
func (g *segment) trim() error {
	g.torn = true
	if err := g.file.Truncate(g.size); err != nil {
		return err
	}
	g.torn = false
	return nil
}

// read reads the record with the number at off, which lies before end.
func (g *segment) read(r io.ReaderAt, off, end int64, number uint64) (chain.Output, int64, error) {
	bad := &DamagedError{number, number}
	var head [headSize]byte
	if _, err := r.ReadAt(head[:], off); err != nil {
		return chain.Output{}, 0, unless(err, bad)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxPayload || off+headSize+int64(n) > end {
		return chain.Output{}, 0, bad
	}
	o := chain.Output{Number: binary.BigEndian.Uint64(head[4:]), Seq: binary.BigEndian.Uint64(head[12:]), Term: binary.BigEndian.Uint64(head[20:]), Payload: make([]byte, n)}
	if n > 0 {
		if _, err := r.ReadAt(o.Payload, off+headSize); err != nil {
			return chain.Output{}, 0, unless(err, bad)
		}
	}
	if d := digest(head[:28], o.Payload); o.Number != number || string(d[:16]) != string(head[28:]) {
		return chain.Output{}, 0, bad
	}
	return o, headSize + int64(n), nil
}

// unless is what a failed read says: the file is too short, or it could not be read.
func unless(err error, bad *DamagedError) error {
	if errors.Is(err, io.EOF) {
		return bad
	}
	return err
}

// ahead reads small records of a file in one piece.
type ahead struct {
	r   io.ReaderAt
	buf []byte
	at  int64 // where buf lies
}

const readAhead = 64 << 10

func (a *ahead) ReadAt(p []byte, off int64) (int, error) {
	if len(p) >= readAhead {
		return a.r.ReadAt(p, off)
	}
	if off < a.at || off+int64(len(p)) > a.at+int64(len(a.buf)) {
		if a.buf == nil {
			a.buf = make([]byte, readAhead)
		}
		n, err := a.r.ReadAt(a.buf[:readAhead], off)
		if a.at, a.buf = off, a.buf[:n]; n < len(p) {
			return copy(p, a.buf), err
		}
	}
	return copy(p, a.buf[off-a.at:]), nil
}

func digest(head, payload []byte) chain.Hash { return chain.Derive("stored output", head, payload) }

// tail is the segment to append to; the writer's.
func (s *Store) tail() (*segment, error) {
	if n := len(s.segs); n > 0 {
		g := s.segs[n-1]
		if err := s.learn(g); err != nil {
			return nil, err
		}
		if g.torn && !g.broken() {
			if err := g.trim(); err != nil {
				return nil, err
			}
		}
		if !g.broken() && g.next == s.next && g.size < s.keep.SegmentBytes {
			return g, nil
		}
		if err := g.file.Sync(); err != nil {
			return nil, fmt.Errorf("%w: %w", durable.ErrUnsure, err)
		}
	}
	g := &segment{first: s.next, next: s.next, whole: s.next}
	var err error
	if g.file, err = s.fs.Open(g.name(), true); err != nil {
		return nil, err
	}
	g.file = durable.Steady(g.file)
	if err := g.file.Truncate(0); err != nil {
		return nil, errors.Join(err, g.file.Close())
	}
	if err := s.fs.SyncDir("."); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", durable.ErrUnsure, err), g.file.Close())
	}
	s.mu.Lock()
	s.segs = append(s.segs, g)
	s.mu.Unlock()
	return g, nil
}

// remove is called with both locks held.
func (s *Store) remove(i int) error {
	g := s.segs[i]
	s.segs = slices.Delete(s.segs, i, i+1)
	return errors.Join(g.file.Close(), s.fs.Remove(g.name()))
}
