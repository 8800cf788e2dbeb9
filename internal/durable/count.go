package durable

import "sync/atomic"

// Count is fs with every fsync counted, of files and of directories.
func Count(fs FS, syncs *atomic.Uint64) FS { return counted{fs, syncs} }

type counted struct {
	FS
	syncs *atomic.Uint64
}

type countedFile struct {
	File
	syncs *atomic.Uint64
}

func (f countedFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

func (c counted) Open(name string, create bool) (File, error) {
	f, err := c.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return countedFile{f, c.syncs}, nil
}

func (c counted) WriteFile(name string, data []byte) error {
	c.syncs.Add(2) // the file and its directory
	return c.FS.WriteFile(name, data)
}

func (c counted) Rename(from, to string) error {
	c.syncs.Add(2) // both directories
	return c.FS.Rename(from, to)
}

func (c counted) SyncDir(dir string) error {
	c.syncs.Add(1)
	return c.FS.SyncDir(dir)
}

func (c counted) Sub(dir string) FS { return counted{c.FS.Sub(dir), c.syncs} }
