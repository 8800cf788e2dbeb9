package raftlog

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// killed is a file system under a process that is killed, once armed, between
// the renaming of a file and the fsync of its directory.
type killed struct {
	durable.FS
	armed bool
}

func (k *killed) WriteFile(name string, data []byte) error {
	if !k.armed {
		return k.FS.WriteFile(name, data)
	}
	if err := k.FS.Place(name, data); err != nil {
		return err
	}
	return errPower
}

// The next process finds the mark that a killed one has renamed, and counts on
// it: a power cut does not bring back the one before, which lists other segments.
func TestKilledBeforeTheMarkIsDurable(t *testing.T) {
	for what, last := range map[string]func(l *Log) error{
		"a segment begins": func(l *Log) error { return l.StoreLog(entry(l.index.last+1, 1, smallSegment/2)) },
		"a segment goes":   func(l *Log) error { return l.DeleteRange(1, l.index.last-1) },
	} {
		t.Run(what, func(t *testing.T) {
			p := newPlug()
			fs := &killed{FS: p.fs()}
			l := small(t, fs)
			for len(l.segments) < 2 {
				require.NoError(t, l.StoreLog(entry(l.index.last+1, 1, smallSegment/2)))
			}
			fs.armed = true
			require.ErrorIs(t, last(l), errPower)

			l = small(t, p.fs())
			require.NoError(t, l.StoreLog(entry(l.index.last+1, 1, 100)))
			want := content(t, l)
			p.restore(func() bool { return false })
			require.True(t, equal(want, content(t, small(t, p.fs()))))
		})
	}
}

// kernel is a file system with a page cache over a disk. When an fsync fails it
// keeps what was written in memory, calls it clean, and does not write it again.
type kernel struct {
	durable.FS
	disk durable.FS
	fail bool
}

func newKernel() *kernel {
	return &kernel{FS: durable.NewMem().Sub("."), disk: durable.NewMem().Sub(".")}
}

func (k *kernel) Open(name string, create bool) (durable.File, error) {
	f, err := k.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	d, err := k.disk.Open(name, create)
	return &kernelFile{File: f, disk: d, k: k}, err
}

func (k *kernel) WriteFile(name string, data []byte) error {
	if err := k.FS.WriteFile(name, data); err != nil {
		return err
	}
	return k.disk.WriteFile(name, data)
}

type kernelFile struct {
	durable.File
	disk  durable.File
	k     *kernel
	dirty []func() error
}

func (f *kernelFile) WriteAt(b []byte, off int64) (int, error) {
	b = bytes.Clone(b)
	f.dirty = append(f.dirty, func() error { _, err := f.disk.WriteAt(b, off); return err })
	return f.File.WriteAt(b, off)
}

func (f *kernelFile) Allocate(size int64) error {
	if err := f.File.Allocate(size); err != nil {
		return err
	}
	return f.disk.Allocate(size)
}

func (f *kernelFile) Datasync() error { return f.Sync() }

func (f *kernelFile) Sync() error {
	dirty := f.dirty
	f.dirty = nil
	if f.k.fail {
		return errPower
	}
	for _, write := range dirty {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// A process that starts after a failed fsync reads what the disk does not have.
// What it counts on is there after a power cut all the same.
func TestReadAfterAFailedSyncIsDurable(t *testing.T) {
	k := newKernel()
	l := small(t, k)
	require.NoError(t, l.StoreLog(entry(1, 1, 100)))
	k.fail = true
	require.ErrorIs(t, l.StoreLog(entry(2, 1, 9000)), errPower)
	k.fail = false
	want := content(t, small(t, k))
	require.Len(t, want, 2)
	require.True(t, equal(want, content(t, small(t, k.disk))))
}

// So it is with a vote: none is forgotten that a process has read, and answers for.
func TestVoteReadAfterAFailedSyncIsDurable(t *testing.T) {
	k := newKernel()
	s, err := OpenStable(k, "stable", Options{})
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("vote"), []byte("a")))
	k.fail = true
	require.ErrorIs(t, s.Set([]byte("vote"), []byte("b")), errPower)
	k.fail = false
	for _, fs := range []durable.FS{k, k.disk} {
		s, err = OpenStable(fs, "stable", Options{})
		require.NoError(t, err)
		v, err := s.Get([]byte("vote"))
		require.NoError(t, err)
		require.Equal(t, "b", string(v))
	}
}
