package raftlog

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// aged is a log of several segments whose newest append no mark covers.
func aged(t *testing.T, fs durable.FS) []raft.Log {
	l := small(t, fs)
	for i := uint64(1); i <= 20; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1, 60)))
	}
	require.NoError(t, l.DeleteRange(1, 9))
	require.NoError(t, l.DeleteRange(19, 20))
	require.NoError(t, l.StoreLogs([]*raft.Log{entry(19, 2, 600), entry(20, 2, 1200)}))
	require.Greater(t, len(l.segments), 1)
	require.NotEqual(t, l.frame, l.marked)
	return content(t, l)
}

// poke changes bytes of a file and returns what puts them back.
func poke(t *testing.T, fs durable.FS, name string, at int64, change func([]byte), n int) func() {
	f, err := fs.Open(name, false)
	require.NoError(t, err)
	was := make([]byte, n)
	require.NoError(t, readFull(f, was, at))
	b := append([]byte(nil), was...)
	change(b)
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	return func() {
		_, err := f.WriteAt(was, at)
		require.NoError(t, err)
	}
}

// A flipped bit in any byte of any file is refused or harmless, also in the
// newest append, which no mark covers yet and none follows.
func TestEveryFlippedByte(t *testing.T) {
	fs := durable.NewMem().Sub("log")
	want := aged(t, fs)
	step := int64(3)
	if testing.Short() {
		step = 31
	}
	refused, harmless := 0, 0
	for name, size := range sizes(t, fs) {
		for at := rand.Int64N(step); at < size; at += step {
			restore := poke(t, fs, name, at, func(b []byte) { b[0] ^= 1 << rand.IntN(8) }, 1)
			l, err := readOnly(fs)
			if err == nil {
				require.True(t, equal(want, content(t, l)), "%s byte %d", name, at)
				harmless++
			} else {
				require.ErrorIs(t, err, durable.ErrDamaged, "%s byte %d", name, at)
				refused++
			}
			restore()
		}
	}
	require.Greater(t, refused, 1000/int(step))
	t.Logf("%d refused, %d harmless", refused, harmless)
}

// Every acknowledged sector that turns to zeros is noticed once the mark or
// another append has passed it. The newest append before that is the limit.
func TestEveryZeroedSector(t *testing.T) {
	for _, marked := range []bool{true, false} {
		fs := durable.NewMem().Sub("log")
		want := aged(t, fs)
		if marked {
			require.NoError(t, small(t, fs).Close())
		}
		lost := 0
		for name, size := range sizes(t, fs) {
			for at := int64(0); at < size; at += sectorSize {
				n := int(min(sectorSize, size-at))
				restore := poke(t, fs, name, at, func(b []byte) { clear(b) }, n)
				if l, err := readOnly(fs); err != nil {
					require.ErrorIs(t, err, durable.ErrDamaged)
				} else if got := content(t, l); !equal(want, got) {
					require.True(t, equal(want[:len(want)-2], got), "%s sector at %d", name, at)
					lost++
				}
				restore()
			}
		}
		if marked {
			require.Zero(t, lost)
		} else {
			require.Equal(t, int(sectors(frameHead+entrySize(entry(19, 2, 600))+entrySize(entry(20, 2, 1200)))), lost, "the limit that the package states")
		}
	}
}

// A file that is gone, short or of another log is refused.
func TestMissingFiles(t *testing.T) {
	mem := durable.NewMem()
	fs := mem.Sub("log")
	aged(t, fs)
	for name := range sizes(t, fs) {
		require.NoError(t, mem.Sub(".").Rename("log/"+name, name))
		_, err := readOnly(fs)
		require.ErrorIs(t, err, durable.ErrDamaged, name)
		require.NoError(t, mem.Sub(".").Rename(name, "log/"+name))
		if isSegment(name) {
			f, err := fs.Open(name, false)
			require.NoError(t, err)
			b := make([]byte, pageSize)
			require.NoError(t, readFull(f, b, smallSegment-pageSize))
			require.NoError(t, f.Truncate(smallSegment-pageSize))
			_, err = readOnly(fs)
			require.ErrorIs(t, err, durable.ErrDamaged, name)
			_, err = f.WriteAt(b, smallSegment-pageSize)
			require.NoError(t, err)
		}
	}
	_, err := readOnly(fs)
	require.NoError(t, err)
}

// Of a frame that was being written any sectors may be there.
func TestTornAppend(t *testing.T) {
	for i := range 120 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPlug()
		size, rest := 2000, 100
		if i%4 == 0 { // too large for zeros behind it
			size, rest = 200_000, fillAhead
		}
		o := Options{SegmentBytes: 4 << 20}
		l, err := open(p.fs(), o)
		require.NoError(t, err)
		require.NoError(t, l.StoreLog(entry(1, 1, 100)))
		p.left.Store(1) // the write is the last to happen
		require.ErrorIs(t, l.StoreLogs([]*raft.Log{entry(2, 1, size), entry(3, 1, size)}), errPower)
		p.restore(func() bool { return r.IntN(8) > 0 })
		l, err = open(p.fs(), o)
		require.NoError(t, err, "seed %d", seed)
		if n := len(content(t, l)); n != 3 {
			require.Equal(t, 1, n, "seed %d", seed)
			require.NoError(t, l.StoreLog(entry(2, 2, rest)), "shorter than what was torn")
		}
		want := content(t, l)
		p.restore(func() bool { return false })
		l, err = open(p.fs(), o)
		require.NoError(t, err, "seed %d", seed)
		require.True(t, equal(want, content(t, l)), "seed %d", seed)
	}
}

// An append after a bad one proves that the bad one was acknowledged.
func TestDamageBeforeAnAppendIsNoTornTail(t *testing.T) {
	for _, change := range []func([]byte){func(b []byte) { b[100] ^= 1 }, func(b []byte) { clear(b) }} {
		fs := durable.NewMem().Sub("log")
		l := small(t, fs)
		require.NoError(t, l.StoreLog(entry(1, 1, 100)))
		require.NoError(t, l.StoreLog(entry(2, 1, 100)))
		poke(t, fs, l.segments[0].name(), 0, change, sectorSize)
		_, err := readOnly(fs)
		require.ErrorIs(t, err, durable.ErrDamaged)
	}
}

// readOnly reads a log as open does and writes nothing.
func readOnly(fs durable.FS) (*Log, error) {
	l := &Log{fs: fs, o: Options{SegmentBytes: smallSegment}}
	err := l.read(false)
	return l, err
}

func sizes(t *testing.T, fs durable.FS) map[string]int64 {
	names, err := fs.List(".")
	require.NoError(t, err)
	out := make(map[string]int64)
	for _, n := range names {
		f, err := fs.Open(n, false)
		require.NoError(t, err)
		out[n], err = f.Size()
		require.NoError(t, err)
	}
	return out
}

// Whatever is in a segment, reading it neither panics nor believes it.
func FuzzSegment(f *testing.F) {
	p := &packer{}
	pack(p, 3, 9, []*raft.Log{entry(10, 1, 40), entry(11, 1, 400)})
	p.pad()
	f.Add(p.b, true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if len(b) > smallSegment {
			return
		}
		p := &packer{b: bytes.Clone(b)} // the fuzzer keeps b
		p.pad()
		s := &segment{number: 1, id: 7, frame: 1, size: smallSegment}
		if sealed && len(p.b) > 0 {
			p.seal(s, 0, 1)
		}
		fs := durable.NewMem().Sub("log")
		require.NoError(t, fs.WriteFile(s.name(), append(p.b, make([]byte, smallSegment-len(p.b))...)))
		require.NoError(t, s.open(fs))
		fr, err := s.frameAt(0, 1)
		if fr == nil || err != nil {
			return
		}
		require.True(t, sealed)
		for _, x := range fr.places {
			b, err := s.read(int64(x.pos), int64(x.size))
			require.NoError(t, err)
			var l raft.Log
			require.NoError(t, parseEntry(1, b, &l))
		}
	})
}
