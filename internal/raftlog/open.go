package raftlog

import (
	"errors"
	"time"

	"github.com/understudy-ha/understudy/internal/durable"
)

// Options of a log. Zero values take the defaults.
type Options struct {
	SegmentBytes int64         // 32 MiB; segments that are there keep their size
	MarkAfter    time.Duration // 500 ms without an append, until it is marked
	Existing     bool          // nothing is made: files that are not there were lost
}

const defaultSegment = 32 << 20

// Open opens a log, or makes it unless it must exist, in a directory that nobody else uses. Close it.
func Open(fs durable.FS, o Options) (*Log, error) {
	l, err := open(fs, o)
	if err != nil {
		return nil, err
	}
	l.wg.Add(1)
	go l.tend()
	return l, nil
}

// open is Open without the goroutine that tends the log: nothing is marked
// for idleness.
func open(fs durable.FS, o Options) (*Log, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegment
	}
	o.SegmentBytes = (o.SegmentBytes + pageSize - 1) / pageSize * pageSize
	if o.MarkAfter <= 0 {
		o.MarkAfter = 500 * time.Millisecond
	}
	l := &Log{fs: fs, o: o, done: make(chan struct{})}
	if err := l.recover(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	return l, nil
}

// recover reads the log and gets it ready for appends.
func (l *Log) recover() error {
	if !l.o.Existing {
		if err := l.fs.MkdirAll("."); err != nil {
			return err
		}
	}
	if err := l.read(true); err != nil {
		return err
	}
	if len(l.segments) == 0 {
		return l.roll()
	}
	return l.writeMark()
}

// read reads the whole log by the rule that the package states. What it says is
// removed is removed if tidy.
func (l *Log) read(tidy bool) error {
	if err := l.readMark(tidy); err != nil {
		return err
	}
	for i, s := range l.segments {
		if err := s.open(l.fs); err != nil {
			return err
		}
		if i == 0 {
			l.frame = s.frame - 1
		}
		if err := l.replay(s, i == len(l.segments)-1, tidy); err != nil {
			return err
		}
	}
	if !l.index.whole() {
		return damaged(markFile, "the segments it lists do not hold all of the entries %d to %d", l.index.first, l.index.last)
	}
	l.publish()
	return nil
}

// replay reads a segment's frames. In the newest one they may go on after what
// is known to be acknowledged.
func (l *Log) replay(s *segment, newest, tidy bool) error {
	if s.frame != l.frame+1 {
		return damaged(markFile, "segment %d begins with frame %d, the one before ends with %d", s.number, s.frame, l.frame)
	}
	at, last := int64(0), int64(0)
	for at < s.end || newest {
		f, err := s.frameAt(at, l.frame+1)
		if err != nil {
			return err
		}
		if f == nil {
			break
		}
		l.frame++
		l.index.keep(f.first, f.last)
		l.index.add(f.start, s.located(at, f.places))
		next := at + pages(sectors(f.size)*sectorSize)
		if at < s.end && next > s.end {
			return damaged(markFile, "segment %d is acknowledged up to byte %d, in the middle of a frame", s.number, s.end)
		}
		last, at = at, next
	}
	if at < s.end {
		return damaged(s.name(), "frame %d at byte %d is not as it was written, the segment is acknowledged up to byte %d", l.frame+1, at, s.end)
	}
	if !newest {
		return nil
	}
	if last >= s.end && tidy {
		if err := s.again(last, at); err != nil {
			return err
		}
	}
	if err := s.cut(at, l.frame+1, tidy); err != nil {
		return err
	}
	s.end = at
	return nil
}

func pages(n int64) int64 { return (n + pageSize - 1) / pageSize * pageSize }
