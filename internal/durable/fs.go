// Package durable is the file layer under everything a member stores by
// itself: a small file system interface with one real and one in-memory
// implementation, and files that are written whole, atomically and sealed with
// a digest.
//
// The in-memory one keeps what was not synced apart: Crash forgets it, as a
// power cut would. A hook sees every operation and can fail or stall it.
package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// File is an open file. ReadAt may be called concurrently with everything else.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Allocate(size int64) error // makes it that large, of zeros, with room on the disk
	Sync() error
	Datasync() error           // Sync, but for times; enough for bytes written within the size
	WriteBack(off, size int64) // has the system begin to write these bytes; promises nothing
}

// FS is a directory. Names are relative and use slashes. Files are made with
// mode 0600, directories with 0700.
type FS interface {
	Open(name string, create bool) (File, error)
	Scratch(name string, size int64) (Scratch, error) // made if it is not there; its content stays
	ReadFile(name string, max int64) ([]byte, error)
	WriteFile(name string, data []byte) error // atomic and durable
	Place(name string, data []byte) error     // WriteFile, but durable only with the next SyncDir
	Rename(from, to string) error             // durable
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string) error        // durable
	List(dir string) ([]string, error) // sorted names; none if dir is not there
	SyncDir(dir string) error
	Sub(dir string) FS
	Free() (uint64, error) // bytes
}

// ErrDamaged: bytes on disk are not those that were written.
var ErrDamaged = errors.New("damaged on disk")

// ErrUnsure: after a failed fsync or rename only what is read again after a
// restart says what is on the disk. The kernel may have dropped what was
// written, and the next fsync then succeeds.
var ErrUnsure = errors.New("it is not known what is on the disk")

// ErrTooLarge: a file is larger than its reader allows.
var ErrTooLarge = errors.New("file too large")

type osFS struct{ root string }

// OS is a directory of the machine.
func OS(root string) FS { return osFS{root} }

func (o osFS) path(name string) string { return filepath.Join(o.root, filepath.FromSlash(name)) }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (o osFS) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(o.path(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (o osFS) ReadFile(name string, max int64) ([]byte, error) {
	f, err := os.Open(o.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readAll(f, st.Size(), name, max)
}

// readAll reads a file that has size bytes when it begins, in one piece of memory.
func readAll(r io.Reader, size int64, name string, max int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, min(size, max)+bytes.MinRead))
	_, err := b.ReadFrom(io.LimitReader(r, max+1))
	if err == nil && int64(b.Len()) > max {
		err = fmt.Errorf("%s: %w: over %d bytes", name, ErrTooLarge, max)
	}
	return b.Bytes(), err
}

func (o osFS) WriteFile(name string, data []byte) error {
	if err := o.Place(name, data); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.path(name)))
}

func (o osFS) Place(name string, data []byte) (err error) {
	path := o.path(name)
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

func (o osFS) Rename(from, to string) error {
	if err := os.Rename(o.path(from), o.path(to)); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(o.path(from))), syncDir(filepath.Dir(o.path(to))))
}

func (o osFS) Remove(name string) error    { return os.Remove(o.path(name)) }
func (o osFS) RemoveAll(name string) error { return os.RemoveAll(o.path(name)) }
func (o osFS) SyncDir(dir string) error    { return syncDir(o.path(dir)) }
func (o osFS) Sub(dir string) FS           { return osFS{o.path(dir)} }

func (o osFS) MkdirAll(name string) error {
	path := o.path(name)
	var missing []string
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		missing = append(missing, dir)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, dir := range missing {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

func (o osFS) List(dir string) ([]string, error) {
	es, err := os.ReadDir(o.path(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(es))
	for i, e := range es {
		names[i] = e.Name()
	}
	return names, err
}

func (o osFS) Free() (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(o.root, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
