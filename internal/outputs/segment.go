package outputs

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	broken bool    // not whole up to next
	torn   bool    // something lies after what is whole: a crash left it, or it is damaged
}

func (g *segment) name() string { return fmt.Sprintf("%020d%s", g.first, suffix) }

// scan finds the segment's whole records.
func (g *segment) scan() error {
	size, err := g.file.Size()
	if err != nil {
		return err
	}
	for g.size < size {
		o, n, err := g.read(g.size, size, g.next)
		if err != nil {
			g.torn = true
			break
		}
		g.note(n, o.Seq)
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
		_, n, err := g.read(off, g.size, number)
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

// tail is the segment to append to; the writer's.
func (s *Store) tail() (*segment, error) {
	if n := len(s.segs); n > 0 {
		g := s.segs[n-1]
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
