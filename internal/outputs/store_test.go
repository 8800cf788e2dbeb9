package outputs_test

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"testing"

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

// mend puts what is damaged back, in pieces.
func mend(s *outputs.Store, d *outputs.DamagedError) (err error) {
	for from := d.From; from <= d.To && err == nil; {
		from, err = s.Patch(some(from, min(from+7, d.To+1)))
	}
	return err
}

// readable says what is met by who reads all.
func readable(s *outputs.Store) error {
	for from := s.Oldest(); from < s.Next(); {
		outs, err := s.Read(from, 1000)
		if err != nil {
			return err
		}
		from += uint64(len(outs))
	}
	return nil
}

var small = outputs.Retention{Bytes: 1 << 40, SegmentBytes: 4000}

func fill(t *testing.T, s *outputs.Store, to uint64) {
	for s.Next() < to {
		require.NoError(t, s.Append(some(s.Next(), min(s.Next()+9, to))))
	}
}

// keeping is a disk that removes nothing while it is told to fail.
func keeping() (*durable.Mem, *bool) {
	disk, fail := durable.NewMem(), new(bool)
	disk.Hook = func(op, name string) error {
		if *fail && op == "remove" {
			return errors.New("EIO")
		}
		return nil
	}
	return disk, fail
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

	require.NoError(t, s.Prune(func(uint64) bool { return true }))
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
		require.ErrorIs(t, readable(s), durable.ErrDamaged, "byte %d", at)
		b[0] ^= 4
		f.WriteAt(b[:], at)
	}
	f.WriteAt([]byte{0xff}, 100)
	s, err = outputs.Open(m.Sub("o"), small)
	require.NoError(t, err)
	d := damaged(t, readable(s))
	require.NoError(t, mend(s, d))
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.Equal(t, some(1, 300), got)
}

// A cut that fails halfway leaves a store that goes on after what it has, not
// one with a hole.
func TestFailedTruncate(t *testing.T) {
	disk, fail := keeping()
	s, err := outputs.Open(disk.Sub("outputs"), small)
	require.NoError(t, err)
	defer s.Close()
	fill(t, s, 500)
	*fail = true
	require.Error(t, s.Truncate(65))
	*fail = false
	require.Less(t, s.Next(), uint64(500))
	fill(t, s, 500)
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.Equal(t, some(1, 500), got)
}

// What is old is said of the newest output of each file, and is known again after
// a restart. What follows something young stays.
func TestPruneByAge(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	fill(t, s, 500)
	for _, young := range []uint64{0, 400, 600} {
		require.NoError(t, s.Prune(func(seq uint64) bool { return seq < young }))
		if young > 0 {
			require.Less(t, s.Oldest(), young/2+1)
			require.Greater(t, s.Oldest(), young/2-100)
		} else {
			require.EqualValues(t, 1, s.Oldest())
		}
		s, err = outputs.Open(fs, small)
		require.NoError(t, err)
	}
}

// What is kept makes no start longer: the newest file is read, the others when
// they are asked for.
func TestOpenReadsTheNewestFile(t *testing.T) {
	disk := durable.NewMem()
	s, err := outputs.Open(disk.Sub("o"), small)
	require.NoError(t, err)
	fill(t, s, 2000)
	names, err := disk.Sub("o").List(".")
	require.NoError(t, err)
	require.Greater(t, len(names), 20)
	read := map[string]bool{}
	disk.Hook = func(op, name string) error {
		if op == "read" {
			read[path.Base(name)] = true
		}
		return nil
	}
	newest := slices.Max(names)
	s, err = outputs.Open(disk.Sub("o"), small)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{newest: true}, read)
	for from := uint64(1); from < 2000; {
		got, err := s.Read(from, 30)
		require.NoError(t, err)
		require.NotEmpty(t, got)
		require.Equal(t, some(from, from+uint64(len(got))), got)
		from += uint64(len(got))
	}
	require.Len(t, read, len(names))
}

// Old outputs are removed while others are appended, read and synced.
func TestPruneWhileAppending(t *testing.T) {
	s, err := outputs.Open(durable.NewMem().Sub("o"), outputs.Retention{Bytes: 1, SegmentBytes: 1})
	require.NoError(t, err)
	stop, done := make(chan struct{}), make(chan error, 3)
	go until(stop, done, func() error { return s.Prune(func(uint64) bool { return false }) })
	go until(stop, done, s.Sync)
	go until(stop, done, func() error {
		_, err := s.Read(s.Next()-1, 10)
		if errors.As(err, new(*outputs.PrunedError)) {
			return nil
		}
		return err
	})
	for i := uint64(1); i <= 1000; i++ {
		require.NoError(t, s.Append(some(i, i+1)))
	}
	close(stop)
	for range 3 {
		require.NoError(t, <-done)
	}
	require.NoError(t, s.Close())
}

func until(stop chan struct{}, done chan error, f func() error) {
	for {
		select {
		case <-stop:
			done <- nil
			return
		default:
			if err := f(); err != nil {
				done <- err
				return
			}
		}
	}
}
