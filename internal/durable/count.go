package durable

import "sync/atomic"

// Count is fs with every fsync counted, of files and of directories, but for
// those of new directories, and every byte that is written to files. Syncs may
// be nil.
func Count(fs FS, syncs, written *atomic.Uint64) FS {
	if syncs == nil {
		syncs = new(atomic.Uint64)
	}
	return counted{fs, syncs, written}
}

type counted struct {
	FS
	syncs, written *atomic.Uint64
}

type countedFile struct {
	File
	syncs, written *atomic.Uint64
}

func (f countedFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(b, off)
	f.written.Add(uint64(n))
	return n, err
}

func (f countedFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

func (f countedFile) Datasync() error {
	f.syncs.Add(1)
	return f.File.Datasync()
}

func (c counted) Open(name string, create bool) (File, error) {
	f, err := c.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return countedFile{f, c.syncs, c.written}, nil
}

func (c counted) WriteFile(name string, data []byte) error {
	c.syncs.Add(2) // the file and its directory
	c.written.Add(uint64(len(data)))
	return c.FS.WriteFile(name, data)
}

func (c counted) Place(name string, data []byte) error {
	c.syncs.Add(1)
	c.written.Add(uint64(len(data)))
	return c.FS.Place(name, data)
}

func (c counted) Rename(from, to string) error {
	c.syncs.Add(2) // both directories
	return c.FS.Rename(from, to)
}

func (c counted) SyncDir(dir string) error {
	c.syncs.Add(1)
	return c.FS.SyncDir(dir)
}

func (c counted) Sub(dir string) FS { return counted{c.FS.Sub(dir), c.syncs, c.written} }
