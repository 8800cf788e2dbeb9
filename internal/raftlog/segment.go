package raftlog

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"github.com/understudy-ha/understudy/internal/durable"
)

// segment is one file of the log.
type segment struct {
	number uint32
	id     uint64 // random
	frame  uint64 // number of its first frame
	size   int64
	end    int64 // up to here it is known to be acknowledged
	filled int64 // up to here it has been written to
	file   durable.File
}

const segmentSuffix = ".seg"

func (s *segment) name() string { return fmt.Sprintf("%08x%s", s.number, segmentSuffix) }

// damaged is an error about a file.
func damaged(file, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", file, durable.ErrDamaged, fmt.Sprintf(format, args...))
}

func (s *segment) open(fs durable.FS) (err error) {
	if s.file, err = fs.Open(s.name(), false); err != nil {
		if os.IsNotExist(err) {
			return damaged(s.name(), "it is gone")
		}
		return err
	}
	n, err := s.file.Size()
	if err == nil && n != s.size {
		return damaged(s.name(), "it has %d bytes instead of %d", n, s.size)
	}
	return err
}

// frameAt reads the frame of that number at a byte. It is nil if what is there
// is not whole.
func (s *segment) frameAt(at int64, number uint64) (*frame, error) {
	var head [sectorSize]byte
	if at+sectorSize > s.size {
		return nil, nil
	}
	if err := readFull(s.file, head[:], at); err != nil {
		return nil, err
	}
	if n, err := s.look(head[:], at); err != nil || n != number {
		return nil, nil // torn says whether that is damage
	}
	size := int64(binary.BigEndian.Uint32(head[headSize+1:]))
	if size < frameHead || at+sectors(size)*sectorSize > s.size {
		return nil, damaged(s.name(), "the frame at byte %d has a size of %d", at, size)
	}
	if ok, err := s.all(at, at+sectors(size)*sectorSize, func(n uint64) bool { return n == number }); err != nil || !ok {
		return nil, err
	}
	b, err := s.read(at/sectorSize*bodySize, size)
	if err != nil {
		return nil, err
	}
	f, err := parseFrame(b)
	if err != nil {
		return nil, damaged(s.name(), "the frame at byte %d: %v", at, err)
	}
	return f, nil
}

// located turns places in a frame into places in the segment.
func (s *segment) located(frame int64, places []place) []place {
	for i := range places {
		places[i].segment = s.number
		places[i].pos += uint32(frame / sectorSize * bodySize)
	}
	return places
}

// all says whether every sector is whole and of a frame that may be there.
func (s *segment) all(from, to int64, may func(frame uint64) bool) (bool, error) {
	at, err := s.firstNot(from, to, may)
	return at == to, err
}

// firstNot is the place of the first sector that is damaged or not wanted.
func (s *segment) firstNot(from, to int64, want func(frame uint64) bool) (int64, error) {
	var b [128 * sectorSize]byte
	for at := from; at < to; {
		n := min(int64(len(b)), to-at)
		if err := readFull(s.file, b[:n], at); err != nil {
			return at, err
		}
		for i := int64(0); i < n; i += sectorSize {
			if f, err := s.look(b[i:i+sectorSize], at+i); err != nil || !want(f) {
				return at + i, nil
			}
		}
		at += n
	}
	return to, nil
}

// again writes the newest frame once more, with the bytes that are there. The
// process that wrote it may have ended with a failed fsync: the kernel then has
// in memory what the disk has not, and no fsync writes it.
func (s *segment) again(from, to int64) error {
	b := make([]byte, to-from)
	if err := readFull(s.file, b, from); err != nil {
		return err
	}
	_, err := s.file.WriteAt(b, from)
	return err
}

// cut removes an incomplete frame of that number, the last of the log, if one
// begins at a byte. What could not be the rest of a frame in writing is damage.
func (s *segment) cut(at int64, number uint64, tidy bool) error {
	end := at
	seen := at
	bad, err := s.firstNot(at, s.size, func(f uint64) bool {
		seen += sectorSize
		if f == number {
			end = seen
		}
		return f == 0 || f == number
	})
	if err != nil {
		return err
	}
	if bad < s.size {
		return damaged(s.name(), "the sector at byte %d cannot be of an append that was cut short at byte %d", bad, at)
	}
	if !tidy {
		return nil
	}
	if end > at {
		if _, err := s.file.WriteAt(make([]byte, end-at), at); err != nil {
			return err
		}
	}
	return s.file.Sync() // what an earlier process left in memory counts from now on
}

func isSegment(name string) bool { return strings.HasSuffix(name, segmentSuffix) }
