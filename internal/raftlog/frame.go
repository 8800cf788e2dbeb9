package raftlog

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A frame: version (1), size in bytes (4), first and last index that still
// count (8, 8), index of the first entry added (8), how many are added (4);
// then for each its term (8), type (1), time (8), the sizes of its data and
// extensions (4, 4), and these.
const (
	frameVersion = 1
	frameHead    = 33
	entryHead    = 25
)

// frame is a frame without its entries' content.
type frame struct {
	size        int64 // in bytes, without the heads of sectors
	first, last uint64
	start       uint64
	places      []place // of the entries, counted from the frame's beginning
}

func entrySize(l *raft.Log) int64 { return entryHead + int64(len(l.Data)) + int64(len(l.Extensions)) }

// pack lays a frame out in sectors, to be sealed, and says where the entries are.
func pack(p *packer, first, last uint64, logs []*raft.Log) []place {
	size := int64(frameHead)
	for _, l := range logs {
		size += entrySize(l)
	}
	p.b = slices.Grow(p.b, int(sectors(size)*sectorSize))
	h := append(make([]byte, 0, frameHead), frameVersion)
	h = binary.BigEndian.AppendUint32(h, uint32(size))
	h = binary.BigEndian.AppendUint64(h, first)
	h = binary.BigEndian.AppendUint64(h, last)
	start := uint64(0)
	if len(logs) > 0 {
		start = logs[0].Index
	}
	h = binary.BigEndian.AppendUint64(h, start)
	p.write(binary.BigEndian.AppendUint32(h, uint32(len(logs))))
	places := make([]place, len(logs))
	pos := int64(frameHead)
	for i, l := range logs {
		places[i] = place{pos: uint32(pos), size: uint32(entrySize(l))}
		pos += entrySize(l)
		h = binary.BigEndian.AppendUint64(h[:0], l.Term)
		at := int64(0)
		if !l.AppendedAt.IsZero() {
			at = l.AppendedAt.UnixNano()
		}
		h = binary.BigEndian.AppendUint64(append(h, byte(l.Type)), uint64(at))
		h = binary.BigEndian.AppendUint32(h, uint32(len(l.Data)))
		p.write(binary.BigEndian.AppendUint32(h, uint32(len(l.Extensions))))
		p.write(l.Data)
		p.write(l.Extensions)
	}
	return places
}

var errMalformed = errors.New("malformed")

// parseFrame reads a frame's content.
func parseFrame(b []byte) (*frame, error) {
	if len(b) < frameHead || b[0] != frameVersion {
		return nil, errMalformed
	}
	f := &frame{
		size: int64(len(b)), first: binary.BigEndian.Uint64(b[5:]), last: binary.BigEndian.Uint64(b[13:]), start: binary.BigEndian.Uint64(b[21:]),
	}
	n := int(binary.BigEndian.Uint32(b[29:]))
	if f.first > f.last || (f.first == 0) != (f.last == 0) || n > (len(b)-frameHead)/entryHead {
		return nil, errMalformed
	}
	if n > 0 && (f.start == 0 || f.last > 0 && f.start != f.last+1 || f.start+uint64(n) < f.start) {
		return nil, errMalformed
	}
	pos := frameHead
	for range n {
		size, err := entryEnd(b[pos:])
		if err != nil {
			return nil, err
		}
		f.places = append(f.places, place{pos: uint32(pos), size: uint32(size)})
		pos += size
	}
	if pos != len(b) {
		return nil, errMalformed
	}
	return f, nil
}

func entryEnd(b []byte) (int, error) {
	if len(b) < entryHead {
		return 0, errMalformed
	}
	size := entryHead + int64(binary.BigEndian.Uint32(b[17:])) + int64(binary.BigEndian.Uint32(b[21:]))
	if size > int64(len(b)) {
		return 0, errMalformed
	}
	return int(size), nil
}

// parseEntry reads an entry.
func parseEntry(index uint64, b []byte, out *raft.Log) error {
	if n, err := entryEnd(b); err != nil || n != len(b) {
		return errMalformed
	}
	data := entryHead + int(binary.BigEndian.Uint32(b[17:]))
	*out = raft.Log{Index: index, Term: binary.BigEndian.Uint64(b), Type: raft.LogType(b[8])}
	if at := int64(binary.BigEndian.Uint64(b[9:])); at != 0 {
		out.AppendedAt = time.Unix(0, at)
	}
	if data > entryHead {
		out.Data = b[entryHead:data:data]
	}
	if data < len(b) {
		out.Extensions = b[data:]
	}
	return nil
}
