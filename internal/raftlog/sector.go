package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// A sector: checksum (4), frame number (8), content (500).
const (
	sectorSize = 512
	headSize   = 12
	bodySize   = sectorSize - headSize
	pageSize   = 4096 // frames begin at pages
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	blank      [sectorSize]byte
)

// checksum binds a sector to its segment and its place there.
func (s *segment) checksum(sector []byte, at int64) uint32 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], s.id)
	binary.BigEndian.PutUint64(b[8:], uint64(at))
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, sector[4:])
}

// look says whose sector this is: a frame's number, or 0 for nobody's.
func (s *segment) look(sector []byte, at int64) (uint64, error) {
	if [sectorSize]byte(sector) == blank {
		return 0, nil
	}
	if binary.BigEndian.Uint32(sector) != s.checksum(sector, at) {
		return 0, damaged(s.name(), "the sector at byte %d is not as it was written", at)
	}
	return binary.BigEndian.Uint64(sector[4:]), nil
}

// packer lays bytes out in sectors.
type packer struct{ b []byte }

func (p *packer) write(d []byte) {
	for len(d) > 0 {
		if len(p.b)%sectorSize == 0 {
			p.b = append(p.b, blank[:headSize]...)
		}
		n := min(len(d), sectorSize-len(p.b)%sectorSize)
		p.b = append(p.b, d[:n]...)
		d = d[n:]
	}
}

// pad completes the last sector.
func (p *packer) pad() {
	p.b = append(p.b, blank[:(sectorSize-len(p.b)%sectorSize)%sectorSize]...)
}

// seal fills in the heads of the sectors of a frame that is written at a place.
func (p *packer) seal(s *segment, at int64, frame uint64) {
	for i := 0; i < len(p.b); i += sectorSize {
		sector := p.b[i : i+sectorSize]
		binary.BigEndian.PutUint64(sector[4:], frame)
		binary.BigEndian.PutUint32(sector, s.checksum(sector, at+int64(i)))
	}
}

// sectors is how many sectors hold that many bytes.
func sectors(size int64) int64 { return (size + bodySize - 1) / bodySize }

// read returns size bytes of content from pos on, counted without the heads.
func (s *segment) read(pos, size int64) ([]byte, error) {
	first := pos / bodySize
	raw := make([]byte, (sectors(pos+size)-first)*sectorSize)
	if err := readFull(s.file, raw, first*sectorSize); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name(), err)
	}
	out := raw[:0] // content moves down over the heads
	for i := 0; i < len(raw); i += sectorSize {
		switch n, err := s.look(raw[i:i+sectorSize], first*sectorSize+int64(i)); {
		case err != nil:
			return nil, err
		case n == 0:
			return nil, damaged(s.name(), "the sector at byte %d is gone", first*sectorSize+int64(i))
		}
		out = append(out, raw[i+headSize:i+sectorSize]...)
	}
	pos -= first * bodySize
	return out[pos : pos+size : pos+size], nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return err
}
