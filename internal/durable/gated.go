package durable

// Gated asks before everything that changes the disk. The gate may take its
// time; its error is the operation's.
func Gated(fs FS, gate func() error) FS { return gatedFS{fs, gate} }

type gatedFS struct {
	FS
	gate func() error
}

type gatedFile struct {
	File
	gate func() error
}

func (g gatedFS) behind(f func() error) error {
	if err := g.gate(); err != nil {
		return err
	}
	return f()
}

func (g gatedFS) Open(name string, create bool) (File, error) {
	if create {
		if err := g.gate(); err != nil {
			return nil, err
		}
	}
	f, err := g.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return gatedFile{f, g.gate}, nil
}

func (g gatedFS) WriteFile(name string, data []byte) error {
	return g.behind(func() error { return g.FS.WriteFile(name, data) })
}

func (g gatedFS) Place(name string, data []byte) error {
	return g.behind(func() error { return g.FS.Place(name, data) })
}

func (g gatedFS) Rename(from, to string) error {
	return g.behind(func() error { return g.FS.Rename(from, to) })
}

func (g gatedFS) Remove(name string) error {
	return g.behind(func() error { return g.FS.Remove(name) })
}

func (g gatedFS) RemoveAll(name string) error {
	return g.behind(func() error { return g.FS.RemoveAll(name) })
}

func (g gatedFS) MkdirAll(name string) error {
	return g.behind(func() error { return g.FS.MkdirAll(name) })
}

func (g gatedFS) SyncDir(dir string) error {
	return g.behind(func() error { return g.FS.SyncDir(dir) })
}

func (g gatedFS) Sub(dir string) FS { return gatedFS{g.FS.Sub(dir), g.gate} }

func (f gatedFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.gate(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func (f gatedFile) Truncate(size int64) error {
	if err := f.gate(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f gatedFile) Sync() error {
	if err := f.gate(); err != nil {
		return err
	}
	return f.File.Sync()
}
