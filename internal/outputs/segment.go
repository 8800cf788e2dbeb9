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
	next   uint64
	file   durable.File
	size   int64
	points []int64 // offset of records first, first+sparse, …
	last   uint64  // seq of the newest output
	unread bool    // what is above is not known yet, and size is the file's
	broken bool    // not whole up to next
	torn   bool    // something lies after what is whole: a crash left it, or it is damaged
}

func (g *segment) name() string { return fmt.Sprintf("%020d%s", g.first, suffix) }

// scan finds the whole records of a segment that nobody has read yet. Its next
// is the first of the segment after it, where it ends for all that may follow; 0
// if there is none. A disk that does not answer says nothing of an older segment.
func (g *segment) scan() error {
	end, due := g.size, g.next
	g.size, g.next, g.unread = 0, g.first, false
	r := &ahead{r: g.file}
	for g.size < end && (due == 0 || g.next < due) {
		o, n, err := g.read(r, g.size, end, g.next)
		if err != nil {
			if due != 0 && !errors.Is(err, durable.ErrDamaged) {
				return err
			}
			g.torn = true
			break
		}
		g.note(n, o.Seq)
	}
	if due != 0 && g.next != due {
		g.broken, g.next = true, due
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
		g.next, g.size, g.points, g.last = known.next, known.size, known.points, known.last
		g.unread, g.broken, g.torn = false, known.broken, known.torn
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

func (g *segment) note(n int64, seq uint64) {
	if (g.next-g.first)%sparse == 0 {
		g.points = append(g.points, g.size)
	}
	g.next++
	g.size += n
	g.last = seq
}

// cut drops the outputs from next on, which it holds.
func (g *segment) cut(next uint64) error {
	i := (next - g.first) / sparse
	off, number := g.points[i], g.first+i*sparse
	for number < next {
		_, n, err := g.read(g.file, off, g.size, number)
		if err != nil {
			return err
		}
		off, number = off+n, number+1
	}
	g.size, g.next, g.points = off, next, g.points[:(next-g.first+sparse-1)/sparse]
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
		if g.torn && !g.broken {
			if err := g.trim(); err != nil {
				return nil, err
			}
		}
		if !g.broken && g.next == s.next && g.size < s.keep.SegmentBytes {
			return g, nil
		}
		if err := g.file.Sync(); err != nil {
			return nil, fmt.Errorf("%w: %w", durable.ErrUnsure, err)
		}
	}
	g := &segment{first: s.next, next: s.next}
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
