package durable

import "io"

// Scratch is a small file of fixed size for what must survive the process and
// need not survive the machine: nothing of it is ever synced. To write is as
// cheap as the system allows, since it is done between any two events.
type Scratch interface {
	io.WriterAt
	io.Closer
	// Touch waits until the disk takes writes again, if it does not. A WriteAt
	// soon after one does not wait for the disk.
	Touch() error
}

// written is a scratch file that is written with a system call each.
type written struct{ File }

func (w written) Touch() error { return nil }

// scratchFile makes the file with its room on the disk, so that no later write
// can fail for want of it.
func scratchFile(fs FS, name string, size int64) (File, error) {
	f, err := fs.Open(name, true)
	if err != nil {
		return nil, err
	}
	if err := f.Allocate(size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f memFS) Scratch(name string, size int64) (Scratch, error) {
	x, err := scratchFile(f, name, size)
	if err != nil {
		return nil, err
	}
	return written{x}, nil
}

// gatedScratch asks where the disk is asked.
type gatedScratch struct {
	Scratch
	gate func() error
}

func (g gatedScratch) Touch() error {
	if err := g.gate(); err != nil {
		return err
	}
	return g.Scratch.Touch()
}

func (g gatedFS) Scratch(name string, size int64) (Scratch, error) {
	if err := g.gate(); err != nil {
		return nil, err
	}
	s, err := g.FS.Scratch(name, size)
	if err != nil {
		return nil, err
	}
	return gatedScratch{s, g.gate}, nil
}
