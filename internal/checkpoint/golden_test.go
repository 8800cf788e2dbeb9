package checkpoint_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/checkpoint"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
)

// The state of a checkpoint of two chunks and what names them.
func TestGoldenManifest(t *testing.T) {
	fs := durable.NewMem().Sub("c")
	s, err := checkpoint.Open(fs)
	require.NoError(t, err)
	pos := position(t)
	pos.Subscriptions = []byte("subscriptions")
	w, err := s.Writer(pos)
	require.NoError(t, err)
	state := append(bytes.Repeat([]byte("x"), checkpoint.ChunkSize), "tail"...)
	_, err = w.Write(state)
	require.NoError(t, err)
	m, digest, err := w.Commit()
	require.NoError(t, err)
	golden.Bytes(t, "manifest", m.Marshal())
	golden.Text(t, "digest", []byte("manifest "+digest.String()+"\n"))

	b := golden.Read(t, "manifest")
	back, err := checkpoint.ParseManifest(b)
	require.NoError(t, err)
	require.Equal(t, m, back)
	require.Equal(t, digest, chain.Derive("manifest", b))
	file, err := fs.ReadFile("manifests/"+digest.String(), 1<<20)
	require.NoError(t, err)
	require.Equal(t, b, file, "the file is the manifest")
	for i, want := range [][]byte{state[:checkpoint.ChunkSize], state[checkpoint.ChunkSize:]} {
		file, err := fs.ReadFile("chunks/"+m.Chunks[i].String(), checkpoint.ChunkSize)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, file), "the file is the chunk")
	}
	r, _, err := s.State(digest)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(state, got))
}

func FuzzParseManifest(f *testing.F) {
	golden.Seed(f, "manifest")
	f.Fuzz(func(t *testing.T, b []byte) {
		golden.Bounded(t, len(b), func() {
			m, err := checkpoint.ParseManifest(b)
			if err != nil {
				require.ErrorIs(t, err, checkpoint.ErrManifest)
				return
			}
			require.Equal(t, b, m.Marshal())
		})
	})
}
