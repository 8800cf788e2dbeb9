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

func position(t *testing.T) checkpoint.Manifest {
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(t, err)
	return checkpoint.Manifest{Origin: tip.Head.Link.Origin, Daemon: "d", Head: tip.Head.Link, Frontier: tip.Frontier.Hashes(), Horizon: []byte("h")}
}

func write(t *testing.T, s *checkpoint.Store, state []byte) (*checkpoint.Manifest, chain.Hash) {
	w, err := s.Writer(position(t))
	require.NoError(t, err)
	defer w.Abort()
	_, err = io.Copy(w, bytes.NewReader(state))
	require.NoError(t, err)
	m, d, err := w.Commit()
	require.NoError(t, err)
	return m, d
}

func TestCheckpoint(t *testing.T) {
	for _, size := range []int{0, 1, checkpoint.ChunkSize, 3*checkpoint.ChunkSize + 17} {
		m1, m2 := durable.NewMem(), durable.NewMem()
		from, err := checkpoint.Open(m1.Sub("c"))
		require.NoError(t, err)
		to, err := checkpoint.Open(m2.Sub("c"))
		require.NoError(t, err)
		state := make([]byte, size)
		rand.NewChaCha8([32]byte{1}).Read(state)
		m, d := write(t, from, state)
		require.Equal(t, d, m.Digest())
		m1.Crash()
		require.True(t, from.Complete(d), "durable once committed")

		b, err := from.ManifestBytes(d)
		require.NoError(t, err)
		require.Error(t, to.PutManifest(chain.Hash{1}, b))
		require.NoError(t, to.PutManifest(d, b))
		for _, h := range to.Missing(m) {
			c, err := from.Chunk(h)
			require.NoError(t, err)
			require.Error(t, to.PutChunk(h, append(c, 0)))
			require.NoError(t, to.PutChunk(h, c))
		}
		r, _, err := to.State(d)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(state, got))
	}
}

func TestDamagedChunksAreMissing(t *testing.T) {
	mem := durable.NewMem()
	fs := mem.Sub("c")
	s, err := checkpoint.Open(fs)
	require.NoError(t, err)
	m, d := write(t, s, bytes.Repeat([]byte("state"), 500_000))
	f, err := fs.Open("chunks/"+m.Chunks[1].String(), false)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{'!'}, 1000)
	require.NoError(t, err)
	require.Equal(t, []chain.Hash{m.Chunks[1]}, s.Missing(m))
	r, _, err := s.State(d)
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, durable.ErrDamaged)
}

func TestCollect(t *testing.T) {
	s, err := checkpoint.Open(durable.NewMem().Sub("c"))
	require.NoError(t, err)
	state := make([]byte, 4*checkpoint.ChunkSize)
	rand.NewChaCha8([32]byte{2}).Read(state)
	_, a := write(t, s, state)
	state[0]++
	_, b := write(t, s, state)
	require.NoError(t, s.Collect([]chain.Hash{b}))
	require.False(t, s.HasManifest(a))
	require.True(t, s.Complete(b))
	m, err := s.Manifest(b)
	require.NoError(t, err)
	require.Empty(t, s.Missing(m))
}
