package checkpoint_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/checkpoint"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// A state of 64 MiB on its way to the disk and back, every chunk hashed and, on
// the way out, fsynced.
func BenchmarkCheckpoint(b *testing.B) {
	state := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{1}).Read(state)
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(b, err)
	pos := checkpoint.Manifest{Origin: tip.Head.Link.Origin, Daemon: "d", Head: tip.Head.Link, Frontier: tip.Frontier.Hashes(), Horizon: []byte("h")}
	open := func() *checkpoint.Store {
		s, err := checkpoint.Open(durable.OS(b.TempDir()))
		require.NoError(b, err)
		return s
	}
	write := func(s *checkpoint.Store) chain.Hash {
		w, err := s.Writer(pos)
		require.NoError(b, err)
		defer w.Abort()
		_, err = io.Copy(w, bytes.NewReader(state))
		require.NoError(b, err)
		_, d, err := w.Commit()
		require.NoError(b, err)
		return d
	}
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(state)))
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			s := open()
			b.StartTimer()
			write(s)
		}
	})
	s := open()
	d := write(s)
	b.Run("write unchanged", func(b *testing.B) {
		b.SetBytes(int64(len(state)))
		b.ReportAllocs()
		for b.Loop() {
			write(s)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(state)))
		b.ReportAllocs()
		for b.Loop() {
			r, _, err := s.State(d)
			require.NoError(b, err)
			n, err := io.Copy(io.Discard, r)
			require.NoError(b, err)
			require.Equal(b, int64(len(state)), n)
			r.Close()
		}
	})
}
