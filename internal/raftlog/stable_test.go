package raftlog

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

func TestStable(t *testing.T) {
	fs := durable.OS(t.TempDir())
	s, err := OpenStable(fs, "stable", Options{})
	require.NoError(t, err)
	_, err = s.Get([]byte("a"))
	require.EqualError(t, err, "not found")
	for i := range uint64(5) {
		require.NoError(t, s.SetUint64([]byte("term"), i))
		require.NoError(t, s.Set([]byte("vote"), fmt.Append(nil, "member ", i)))
		require.NoError(t, s.Set([]byte("empty"), nil))
		require.NoError(t, s.Close())
		require.Error(t, s.Set([]byte("vote"), nil), "closed")
		s, err = OpenStable(fs, "stable", Options{})
		require.NoError(t, err)
		n, err := s.GetUint64([]byte("term"))
		require.NoError(t, err)
		require.Equal(t, i, n)
		v, err := s.Get([]byte("vote"))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("member ", i), string(v))
		_, err = s.Get([]byte("empty"))
		require.NoError(t, err)
	}
	require.ErrorContains(t, s.Set([]byte("big"), make([]byte, 500)), "no room")
	require.ErrorContains(t, s.Set([]byte(strings.Repeat("k", 256)), nil), "no room")
	require.NoError(t, s.Close())
}

// The power goes at every operation: the value is the acknowledged one, or the
// one that was being stored.
func TestStablePowerLoss(t *testing.T) {
	for n := int64(0); n < 60; n++ {
		for _, all := range []bool{true, false} {
			p := newPlug()
			fs := p.mem.Sub(".")
			p.left.Store(n)
			s, err := OpenStable(fs, "stable", Options{})
			acked := 0
			for err == nil && acked < 20 {
				if err = s.Set([]byte("vote"), fmt.Append(nil, acked+1)); err == nil {
					acked++
				}
			}
			p.restore(func() bool { return all })
			s, err = OpenStable(fs, "stable", Options{})
			require.NoError(t, err)
			v, err := s.Get([]byte("vote"))
			if acked == 0 && err != nil {
				continue
			}
			require.NoError(t, err)
			require.Contains(t, []string{fmt.Sprint(acked), fmt.Sprint(acked + 1)}, string(v))
		}
	}
}

// A flipped bit in any byte is refused or harmless: never an older vote.
func TestStableEveryFlippedByte(t *testing.T) {
	fs := durable.NewMem().Sub(".")
	s, err := OpenStable(fs, "stable", Options{})
	require.NoError(t, err)
	old := make([]byte, sectorSize)
	for i := range 3 {
		if i == 1 { // the page that the last one goes to
			require.NoError(t, readFull(s.file, old, 1*pageSize))
		}
		require.NoError(t, s.Set([]byte("vote"), fmt.Append(nil, i)))
	}
	refused := 0
	for at := range int64(2 * pageSize) {
		restore := poke(t, fs, "stable", at, func(b []byte) { b[0] ^= 1 << rand.IntN(8) }, 1)
		if s, err := OpenStable(fs, "stable", Options{}); err != nil {
			require.ErrorIs(t, err, durable.ErrDamaged)
			refused++
		} else {
			v, err := s.Get([]byte("vote"))
			require.NoError(t, err)
			require.Equal(t, "2", string(v))
		}
		restore()
	}
	require.Equal(t, 2*sectorSize, refused)
	for _, at := range []int64{0, pageSize} {
		restore := poke(t, fs, "stable", at, func(b []byte) { clear(b) }, sectorSize)
		_, err := OpenStable(fs, "stable", Options{})
		require.ErrorIs(t, err, durable.ErrDamaged)
		restore()
	}
	require.NoError(t, s.Set([]byte("vote"), []byte("3")))
	poke(t, fs, "stable", pageSize, func(b []byte) { copy(b, old) }, sectorSize)
	_, err = OpenStable(fs, "stable", Options{})
	require.ErrorIs(t, err, durable.ErrDamaged, "a page that missed a write")
}

// A file of votes, or a log, that must be there and is not, is damage. It is not
// made anew.
func TestLostIsNotMadeAnew(t *testing.T) {
	fs := durable.OS(t.TempDir())
	_, err := OpenStable(fs, "stable", Options{Existing: true})
	require.ErrorIs(t, err, durable.ErrDamaged)
	for _, dir := range []durable.FS{fs, fs.Sub("log")} {
		_, err = open(dir, Options{Existing: true})
		require.ErrorIs(t, err, durable.ErrDamaged)
	}
	names, err := fs.List(".")
	require.NoError(t, err)
	require.Empty(t, names)
}
