package raftlog

import (
	"errors"
	"time"
)

// tend marks what was appended when no more follows for a while.
func (l *Log) tend() {
	defer l.wg.Done()
	tick := time.NewTicker(l.o.MarkAfter)
	defer tick.Stop()
	seen := uint64(0)
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
			seen = l.markIdle(seen)
		}
	}
}

func (l *Log) markIdle(seen uint64) uint64 {
	l.write.Lock()
	defer l.write.Unlock()
	if l.failed == nil && l.frame == seen && l.frame != l.marked {
		_ = l.writeMark() // else the one before is as good, and it is tried again: both list the same segments
	}
	return l.frame
}

// Close marks all and closes the files.
func (l *Log) Close() error {
	close(l.done)
	l.wg.Wait()
	l.write.Lock()
	defer l.write.Unlock()
	var err error
	if l.failed == nil && l.frame != l.marked {
		err = l.writeMark()
	}
	if l.failed == nil {
		l.failed = errClosed
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var err error
	for _, s := range l.segments {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
		}
	}
	return err
}
