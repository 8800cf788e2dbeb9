package durable

import "sync/atomic"

// steadyBytes is how much of a steady file may wait in memory, about.
const steadyBytes = 1 << 20

// Steady is a file for appends that nobody waits for. The system is told to
// write them as they come. It would keep them for half a minute, and the next
// Sync, and on some file systems every other one as well, would have to wait
// for all of it.
func Steady(f File) File { return &steady{File: f} }

type steady struct {
	File
	begun atomic.Int64 // up to here the system was told
}

func (s *steady) WriteAt(b []byte, off int64) (int, error) {
	n, err := s.File.WriteAt(b, off)
	switch end, begun := off+int64(n), s.begun.Load(); {
	case end >= begun+steadyBytes:
		s.File.WriteBack(begun, end-begun)
		s.begun.Store(end)
	case end < begun: // it was cut
		s.begun.Store(end)
	}
	return n, err
}
