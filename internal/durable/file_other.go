//go:build !linux

package durable

func (f osFile) Datasync() error           { return f.Sync() }
func (f osFile) Allocate(size int64) error { return f.Truncate(size) }

func (o osFS) Scratch(name string, size int64) (Scratch, error) {
	f, err := scratchFile(o, name, size)
	if err != nil {
		return nil, err
	}
	return written{f}, nil
}
