package durable

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
)

func (f osFile) Datasync() error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (f osFile) Allocate(size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		if err == syscall.EOPNOTSUPP {
			return f.Truncate(size)
		}
		if err != syscall.EINTR {
			return os.NewSyscallError("fallocate", err)
		}
	}
}

// mapped is a scratch file in memory that the kernel writes back. A store takes
// a few nanoseconds, a system call over a thousand. Such a store blocks its
// thread, and soon the whole process, if the kernel has just written the page
// back and the disk hangs; so Touch dirties the page by a system call first, in
// which only its goroutine waits.
type mapped struct {
	f    *os.File
	size int64
	mu   sync.Mutex
	b    []byte // nil once closed
}

func (o osFS) Scratch(name string, size int64) (Scratch, error) {
	f, err := scratchFile(o, name, size)
	if err != nil {
		return nil, err
	}
	file := f.(osFile).File
	b, err := syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil { // a file system that cannot
		return written{f}, nil
	}
	return &mapped{f: file, size: size, b: b}, nil
}

func (m *mapped) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.b == nil {
		return 0, os.ErrClosed
	}
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return 0, io.ErrShortWrite
	}
	return store(m.b[off:], p)
}

// store copies to mapped memory. A page that the kernel cannot give, since the
// disk is full or cannot be read, is a fault, which would end the whole process.
func store(to, b []byte) (n int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("a page of a mapped file: %v", fault)
		}
	}()
	return copy(to, b), nil
}

// Touch writes the last byte, which is nobody's.
func (m *mapped) Touch() error {
	_, err := m.f.WriteAt([]byte{0}, m.size-1)
	return err
}

func (m *mapped) Close() error {
	if m.mu.TryLock() { // else a store hangs with the disk, and the page stays
		if m.b != nil {
			syscall.Munmap(m.b)
		}
		m.b = nil
		m.mu.Unlock()
	}
	return m.f.Close()
}
