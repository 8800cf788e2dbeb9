package durable

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// Mem is a file system in memory. Bytes that were written and not synced, and
// names that were made and not synced, are lost by Crash. Hook, if set before
// use, is called before each operation, outside the lock; an error from it is
// the operation's.
type Mem struct {
	Hook func(op, name string) error
	mu   sync.Mutex
	now  map[string]*memData // as programs see it
	disk map[string]*memData // names that are durable
	dirs map[string]bool
}

type memData struct {
	now  []byte
	disk []byte // as of the last Sync
}

// NewMem is an empty one.
func NewMem() *Mem {
	return &Mem{now: map[string]*memData{}, disk: map[string]*memData{}, dirs: map[string]bool{".": true}}
}

// sector is what a disk writes whole or not at all.
const sector = 512

// Crash forgets everything that is not durable. Open files must not be used after.
func (m *Mem) Crash() { m.Tear(func() bool { return false }) }

// Tear is a Crash in the middle of writing: of the sectors that were written
// and not synced the disk has those for which kept says so, in any order.
func (m *Mem) Tear(kept func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = map[string]*memData{}
	for _, name := range slices.Sorted(maps.Keys(m.disk)) {
		d := m.disk[name]
		b := slices.Clone(d.disk)
		for i := 0; i < len(d.now); i += sector {
			end := min(i+sector, len(d.now))
			if end <= len(d.disk) && string(d.now[i:end]) == string(d.disk[i:end]) || !kept() {
				continue
			}
			if end > len(b) {
				b = append(b, make([]byte, end-len(b))...)
			}
			copy(b[i:], d.now[i:end])
		}
		m.now[name] = &memData{now: b, disk: slices.Clone(b)}
		m.disk[name] = m.now[name]
	}
}

func (m *Mem) at(op, name string) error {
	if m.Hook != nil {
		if err := m.Hook(op, name); err != nil {
			return fmt.Errorf("%s %s: %w", op, name, err)
		}
	}
	return nil
}

// Sub is a directory below this one.
func (m *Mem) Sub(dir string) FS { return memFS{m, path.Clean(dir)} }

type memFS struct {
	m    *Mem
	root string
}

func (f memFS) p(name string) string { return path.Join(f.root, name) }

type memFile struct {
	m    *Mem
	name string
	d    *memData
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.m.at("read", f.name); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off >= int64(len(f.d.now)) {
		return 0, io.EOF
	}
	n := copy(b, f.d.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.m.at("write", f.name); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if need := off + int64(len(b)); need > int64(len(f.d.now)) {
		f.d.now = append(f.d.now, make([]byte, need-int64(len(f.d.now)))...)
	}
	return copy(f.d.now[off:], b), nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.d.now)), nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.m.at("truncate", f.name); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if size <= int64(len(f.d.now)) {
		f.d.now = f.d.now[:size]
	} else {
		f.d.now = append(f.d.now, make([]byte, size-int64(len(f.d.now)))...)
	}
	return nil
}

func (f *memFile) Sync() error {
	if err := f.m.at("sync", f.name); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if n := len(f.d.disk); n <= len(f.d.now) && cap(f.d.disk) > 0 && string(f.d.disk) == string(f.d.now[:n]) {
		f.d.disk = append(f.d.disk, f.d.now[n:]...)
	} else {
		f.d.disk = slices.Clone(f.d.now)
	}
	return nil
}

func (f *memFile) Allocate(size int64) error { return f.Truncate(size) }
func (f *memFile) Datasync() error           { return f.Sync() }
func (f *memFile) WriteBack(off, size int64) {}
func (f *memFile) Close() error              { return nil }

func (f memFS) Open(name string, create bool) (File, error) {
	p := f.p(name)
	if err := f.m.at("open", p); err != nil {
		return nil, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	d, ok := f.m.now[p]
	if !ok {
		if !create {
			return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
		}
		d = &memData{}
		f.m.now[p] = d
	}
	return &memFile{f.m, p, d}, nil
}

func (f memFS) ReadFile(name string, max int64) ([]byte, error) {
	x, err := f.Open(name, false)
	if err != nil {
		return nil, err
	}
	size, err := x.Size()
	if err != nil {
		return nil, err
	}
	return readAll(io.NewSectionReader(x, 0, max+1), size, name, max)
}

func (f memFS) WriteFile(name string, data []byte) error {
	err := f.Place(name, data)
	if err == nil {
		p := f.p(name)
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		f.m.disk[p] = f.m.now[p]
	}
	return err
}

func (f memFS) Place(name string, data []byte) error {
	p := f.p(name)
	if err := errors.Join(f.m.at("write", p), f.m.at("sync", p)); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.now[p] = &memData{now: slices.Clone(data), disk: slices.Clone(data)}
	return nil
}

func (f memFS) Rename(from, to string) error {
	a, b := f.p(from), f.p(to)
	if err := f.m.at("rename", a); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	found := false
	for _, files := range []map[string]*memData{f.m.now, f.m.disk} {
		for name, d := range files {
			if name == a || strings.HasPrefix(name, a+"/") {
				delete(files, name)
				files[b+name[len(a):]] = d
				found = true
			}
		}
	}
	if !found && !f.m.dirs[a] {
		return &os.PathError{Op: "rename", Path: a, Err: os.ErrNotExist}
	}
	return nil
}

func (f memFS) Remove(name string) error {
	p := f.p(name)
	if err := f.m.at("remove", p); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if _, ok := f.m.now[p]; !ok {
		return &os.PathError{Op: "remove", Path: p, Err: os.ErrNotExist}
	}
	delete(f.m.now, p)
	delete(f.m.disk, p)
	return nil
}

func (f memFS) RemoveAll(name string) error {
	p := f.p(name)
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for _, files := range []map[string]*memData{f.m.now, f.m.disk} {
		for n := range files {
			if n == p || strings.HasPrefix(n, p+"/") {
				delete(files, n)
			}
		}
	}
	return nil
}

func (f memFS) MkdirAll(name string) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.dirs[f.p(name)] = true
	return nil
}

func (f memFS) List(dir string) ([]string, error) {
	prefix := f.p(dir) + "/"
	if prefix == "./" {
		prefix = ""
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	var names []string
	for n := range f.m.now {
		if rest, ok := strings.CutPrefix(n, prefix); ok {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (f memFS) SyncDir(dir string) error {
	p := f.p(dir)
	if err := f.m.at("syncdir", p); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for n, d := range f.m.now {
		if path.Dir(n) == p {
			f.m.disk[n] = d
		}
	}
	return nil
}

func (f memFS) Sub(dir string) FS     { return memFS{f.m, f.p(dir)} }
func (f memFS) Free() (uint64, error) { return 1 << 40, nil }
