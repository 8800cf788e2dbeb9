package raftlog

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/durable"
)

// Log is a raft.LogStore. Entries follow each other without gaps; after all
// were removed the next may have any index. The first failed write is the last:
// what is on the disk then, only a new opening can say.
type Log struct {
	fs durable.FS
	o  Options

	write    sync.Mutex // held by whoever changes files
	segments []*segment // the last one is appended to
	frame    uint64     // number of the last one
	marked   uint64     // … that the mark covers
	mark     []byte     // what it says
	failed   error
	buf      packer

	mu    sync.RWMutex // held shortly, never during I/O
	index index
	files map[uint32]*segment

	done chan struct{}
	wg   sync.WaitGroup
}

var errClosed = errors.New("the raft log is closed")

// FirstIndex is the oldest entry's, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.first, nil
}

// LastIndex is the newest entry's, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.last, nil
}

// GetLog reads an entry.
func (l *Log) GetLog(i uint64, out *raft.Log) error {
	p, s := l.find(i)
	if s == nil {
		return raft.ErrLogNotFound
	}
	b, err := s.read(int64(p.pos), int64(p.size))
	if err != nil {
		if now, _ := l.find(i); now != p {
			return raft.ErrLogNotFound // it was removed meanwhile
		}
		return err
	}
	if err := parseEntry(i, b, out); err != nil {
		return damaged(s.name(), "entry %d: %v", i, err)
	}
	return nil
}

func (l *Log) find(i uint64) (place, *segment) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p, ok := l.index.find(i)
	if !ok {
		return place{}, nil
	}
	return p, l.files[p.segment]
}

// StoreLog appends an entry.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs appends entries. They are durable when it returns. If it fails the
// first ones may be.
func (l *Log) StoreLogs(logs []*raft.Log) error {
	l.write.Lock()
	defer l.write.Unlock()
	next := l.index.last + 1
	for i, e := range logs {
		if i == 0 && l.index.last == 0 {
			next = max(e.Index, 1)
		}
		if e.Index != next {
			return fmt.Errorf("log entry %d does not follow entry %d: remove what it replaces first", e.Index, next-1)
		}
		if n := entrySize(e); sectors(frameHead+n)*sectorSize > l.o.SegmentBytes {
			return fmt.Errorf("log entry %d has %d bytes, a segment has %d", e.Index, n, l.o.SegmentBytes)
		}
		next++
	}
	for len(logs) > 0 {
		n, size := 0, int64(0)
		for n < len(logs) && (n == 0 || size+entrySize(logs[n]) <= l.o.SegmentBytes/4) {
			size += entrySize(logs[n])
			n++
		}
		if err := l.append(l.index.first, l.index.last, logs[:n]); err != nil {
			return err
		}
		logs = logs[n:]
	}
	return nil
}

// DeleteRange removes entries at either end of the log.
func (l *Log) DeleteRange(from, to uint64) error {
	l.write.Lock()
	defer l.write.Unlock()
	first, last := l.index.first, l.index.last
	switch {
	case last == 0 || from > to || to < first || from > last:
		return nil
	case from <= first && to >= last:
		first, last = 0, 0
	case from <= first:
		first = to + 1
	case to >= last:
		last = from - 1
	default:
		return fmt.Errorf("removing log entries %d to %d would leave a gap between %d and %d", from, to, first, last)
	}
	if err := l.append(first, last, nil); err != nil {
		return err
	}
	return l.fail(l.drop())
}

// fillAhead is how many zeros a small append may write after itself, so that
// the next ones only write over blocks that are there and need no change of the
// file's metadata to become durable. To a large one that makes no difference.
const fillAhead = 256 << 10

// append writes a frame: entries first to last still count, and these are added.
func (l *Log) append(first, last uint64, logs []*raft.Log) error {
	if l.failed != nil {
		return l.failed
	}
	l.buf.b = l.buf.b[:0]
	places := pack(&l.buf, first, last, logs)
	s := l.segments[len(l.segments)-1]
	l.buf.pad()
	if int64(len(l.buf.b)) > s.size-s.end {
		if err := l.roll(); err != nil {
			return l.fail(err)
		}
		s = l.segments[len(l.segments)-1]
	}
	l.buf.seal(s, s.end, l.frame+1)
	at := s.end
	end := at + pages(int64(len(l.buf.b)))
	if end > s.filled && end-at < fillAhead/2 {
		s.filled = min(end+fillAhead, s.size)
		l.buf.b = append(l.buf.b, make([]byte, s.filled-at-int64(len(l.buf.b)))...)
	}
	if _, err := s.file.WriteAt(l.buf.b, at); err != nil {
		return l.fail(err)
	}
	if err := s.file.Datasync(); err != nil {
		return l.fail(err)
	}
	l.frame++
	s.end = end
	if cap(l.buf.b) > 2<<20 {
		l.buf.b = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index.keep(first, last)
	if len(logs) > 0 {
		l.index.add(logs[0].Index, s.located(at, places))
	}
	return nil
}

func (l *Log) fail(err error) error {
	if err != nil && l.failed == nil {
		l.failed = err
	}
	return err
}
