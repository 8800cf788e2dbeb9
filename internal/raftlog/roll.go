package raftlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
)

// roll begins a new segment.
func (l *Log) roll() error {
	s := &segment{number: 1, frame: l.frame + 1, size: l.o.SegmentBytes}
	if n := len(l.segments); n > 0 {
		s.number = l.segments[n-1].number + 1
	}
	var id [8]byte
	if _, err := io.ReadFull(rand.Reader, id[:]); err != nil {
		return err
	}
	s.id = binary.BigEndian.Uint64(id[:])
	f, err := l.fs.Open(s.name(), true)
	if err != nil {
		return err
	}
	s.file = f
	l.segments = append(l.segments, s)
	l.publish()
	if err := errors.Join(f.Truncate(0), f.Allocate(s.size), f.Sync(), l.fs.SyncDir(".")); err != nil {
		return err
	}
	return l.writeMark()
}

// drop removes the segments before the oldest entry's.
func (l *Log) drop() error {
	oldest := l.segments[len(l.segments)-1].number
	if p, ok := l.index.find(l.index.first); ok {
		oldest = p.segment
	}
	var gone []*segment
	for l.segments[0].number != oldest {
		gone = append(gone, l.segments[0])
		l.segments = l.segments[1:]
	}
	if len(gone) == 0 {
		return nil
	}
	l.publish()
	err := l.writeMark()
	for _, s := range gone {
		if err == nil {
			err = errors.Join(s.file.Close(), l.fs.Remove(s.name()))
		}
	}
	return err
}

// publish shows readers the segments.
func (l *Log) publish() {
	files := make(map[uint32]*segment)
	for _, s := range l.segments {
		files[s.number] = s
	}
	l.mu.Lock()
	l.files = files
	l.mu.Unlock()
}
