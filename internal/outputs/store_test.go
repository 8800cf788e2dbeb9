package outputs_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

func some(from, to uint64) (outs []chain.Output) {
	for n := from; n < to; n++ {
		outs = append(outs, chain.Output{Number: n, Seq: 2 * n, Term: 1, Payload: fmt.Appendf(nil, "output %d", n)})
	}
	return outs
}

var small = outputs.Retention{Age: time.Hour, Bytes: 1 << 40, SegmentBytes: 4000}

func fill(t *testing.T, s *outputs.Store, to uint64) {
	for s.Next() < to {
		require.NoError(t, s.Append(some(s.Next(), min(s.Next()+9, to))))
	}
}

func TestOutputs(t *testing.T) {
	fs := durable.OS(t.TempDir())
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	fill(t, s, 500)
	require.Error(t, s.Append(some(3, 4)))
	for _, cut := range []uint64{480, 257, 129, 128, 65} {
		require.NoError(t, s.Truncate(cut))
		require.Equal(t, cut, s.Next())
		fill(t, s, 500)
		for _, from := range []uint64{1, 63, 64, 65, cut, 499} {
			got, err := s.Read(from, 30)
			require.NoError(t, err)
			require.Equal(t, some(from, min(from+30, 500)), got)
		}
	}
	require.NoError(t, s.Close())
	s, err = outputs.Open(fs, small)
	require.NoError(t, err)
	defer s.Close()
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.Equal(t, some(1, 500), got)

	require.NoError(t, s.Prune(time.Now().Add(2*time.Hour).UnixNano()))
	_, err = s.Read(1, 1)
	var p *outputs.PrunedError
	require.ErrorAs(t, err, &p)
	got, err = s.Read(p.Oldest, 1000)
	require.NoError(t, err)
	require.Equal(t, some(p.Oldest, 500), got)
	require.NoError(t, s.Skip(900))
	require.NoError(t, s.Append(some(900, 901)))
	require.Equal(t, uint64(900), s.Oldest())
}

// A crash keeps what was synced, and a flipped byte is found and can be repaired.
func TestOutputsDamage(t *testing.T) {
	m := durable.NewMem()
	s, err := outputs.Open(m.Sub("o"), small)
	require.NoError(t, err)
	fill(t, s, 300)
	require.NoError(t, s.Sync())
	require.NoError(t, s.Append(some(300, 305)))
	m.Crash()
	s, err = outputs.Open(m.Sub("o"), small)
	require.NoError(t, err)
	require.Equal(t, uint64(300), s.Next())
	names, _ := m.Sub("o").List(".")
	require.Greater(t, len(names), 2)
	f, _ := m.Sub("o").Open(names[0], false)
	size, _ := f.Size()
	for at := int64(0); at < size; at += 31 {
		var b [1]byte
		f.ReadAt(b[:], at)
		b[0] ^= 4
		f.WriteAt(b[:], at)
		s, err = outputs.Open(m.Sub("o"), small)
		require.NoError(t, err)
		_, err := s.Read(1, 1000)
		require.ErrorIs(t, err, durable.ErrDamaged, "byte %d", at)
		b[0] ^= 4
		f.WriteAt(b[:], at)
	}
	f.WriteAt([]byte{0xff}, 100)
	s, err = outputs.Open(m.Sub("o"), small)
	require.NoError(t, err)
	_, err = s.Read(1, 10)
	var d *outputs.DamagedError
	require.ErrorAs(t, err, &d)
	require.NoError(t, s.Replace(some(d.From, d.To+1)))
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.Equal(t, some(1, 300), got)
}

// A cut that fails halfway leaves a store that goes on after what it has, not
// one with a hole.
func TestFailedTruncate(t *testing.T) {
	disk := durable.NewMem()
	fail := false
	disk.Hook = func(op, name string) error {
		if fail && op == "remove" {
			return errors.New("EIO")
		}
		return nil
	}
	s, err := outputs.Open(disk.Sub("outputs"), small)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 500)
	fail = true
	require.Error(t, s.Truncate(65))
	fail = false
	require.Less(t, s.Next(), uint64(500))
	fill(t, s, 500)
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.Equal(t, some(1, 500), got)
}
