package raftlog

import (
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
