package raftlog

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"

	"github.com/understudy-ha/understudy/internal/durable"
)

const (
	markFile    = "mark"
	markRow     = 4 + 4*8
	maxSegments = 1 << 16
)

// writeMark makes durable which segments there are and that all that was
// appended is acknowledged.
func (l *Log) writeMark() error {
	b := []byte{1}
	for _, s := range l.segments {
		b = binary.BigEndian.AppendUint32(b, s.number)
		for _, v := range []uint64{s.id, s.frame, uint64(s.size), uint64(s.end)} {
			b = binary.BigEndian.AppendUint64(b, v)
		}
	}
	if !bytes.Equal(b, l.mark) {
		if err := durable.WriteSealed(l.fs, markFile, b); err != nil {
			return err
		}
	}
	l.mark, l.marked = b, l.frame
	return nil
}

// readMark reads the mark, or makes one for an empty directory if it may. Files that it
// does not list were never used, or no longer.
func (l *Log) readMark(tidy bool) error {
	names, err := l.fs.List(".")
	if err != nil {
		return err
	}
	b, err := durable.ReadSealed(l.fs, markFile, 1+maxSegments*markRow)
	if os.IsNotExist(err) {
		for _, n := range names {
			if isSegment(n) {
				return damaged(markFile, "it is gone, %s is there", n)
			}
		}
		if l.o.Existing {
			return damaged(markFile, "it is gone")
		}
		if !tidy {
			return err
		}
		return l.writeMark()
	}
	if err != nil {
		return err
	}
	if len(b)%markRow != 1 || b[0] != 1 {
		return damaged(markFile, "it is of another format")
	}
	l.mark = b
	if tidy { // names that an earlier process left in memory count from now on
		if err := l.fs.SyncDir("."); err != nil {
			return err
		}
	}
	listed := make(map[string]bool)
	for b = b[1:]; len(b) > 0; b = b[markRow:] {
		v := func(i int) uint64 { return binary.BigEndian.Uint64(b[4+8*i:]) }
		s := &segment{number: binary.BigEndian.Uint32(b), id: v(0), frame: v(1), size: int64(v(2)), end: int64(v(3))}
		if s.size <= 0 || s.size%pageSize != 0 || s.end < 0 || s.end > s.size || s.end%pageSize != 0 {
			return damaged(markFile, "segment %d: %d of %d bytes", s.number, s.end, s.size)
		}
		l.segments = append(l.segments, s)
		listed[s.name()] = true
	}
	for _, n := range names {
		if tidy && isSegment(n) && !listed[n] || tidy && strings.HasPrefix(n, markFile+".") {
			if err := l.fs.Remove(n); err != nil {
				return err
			}
		}
	}
	return nil
}
