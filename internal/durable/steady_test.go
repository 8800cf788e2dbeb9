package durable

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type begun struct {
	File
	ranges [][2]int64
}

func (b *begun) WriteBack(off, size int64) { b.ranges = append(b.ranges, [2]int64{off, off + size}) }

// However a file grows, no more than a MiB and one append of it waits for the
// system, and nothing is left out; also after it was cut.
func TestSteadyBeginsAllOfIt(t *testing.T) {
	f, err := NewMem().Sub("d").Open("f", true)
	require.NoError(t, err)
	b := &begun{File: f}
	s := Steady(b)
	write := func(off int64, size int) int64 {
		n, err := s.WriteAt(make([]byte, size), off)
		require.NoError(t, err)
		off += int64(n)
		if n := len(b.ranges); n > 0 {
			require.Less(t, off-b.ranges[n-1][1], int64(steadyBytes))
		}
		return off
	}
	end := int64(0)
	for range 500 {
		end = write(end, 10_000)
	}
	require.Len(t, b.ranges, 4)
	for i, from := range []int64{0, b.ranges[0][1], b.ranges[1][1], b.ranges[2][1]} {
		require.Equal(t, from, b.ranges[i][0])
	}
	b.ranges = nil
	require.NoError(t, s.Truncate(1000))
	cut := write(1000, 10)
	require.Empty(t, b.ranges)
	write(cut, 3<<20)
	require.Equal(t, [][2]int64{{cut, cut + 3<<20}}, b.ranges)
}
