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

// What was found whole is not read again, until reading it shows that it is
// damaged; what was collected is missing again.
func TestLacking(t *testing.T) {
	fs := durable.NewMem().Sub("c")
	s, err := checkpoint.Open(fs)
	require.NoError(t, err)
	m, d := write(t, s, bytes.Repeat([]byte("state"), 500_000))
	spoil := func(i int) {
		f, err := fs.Open("chunks/"+m.Chunks[i].String(), false)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{'!'}, 1000)
		require.NoError(t, err)
	}
	require.Empty(t, s.Lacking(m))
	whole, err := s.Chunk(m.Chunks[1])
	require.NoError(t, err)
	spoil(1)
	require.Empty(t, s.Lacking(m))
	r, _, err := s.State(d)
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, durable.ErrDamaged)
	require.Equal(t, m.Chunks[1:2], s.Lacking(m))
	require.NoError(t, s.PutChunk(m.Chunks[1], whole))
	require.Empty(t, s.Lacking(m))

	spoil(2)
	s, err = checkpoint.Open(fs)
	require.NoError(t, err)
	require.Equal(t, m.Chunks[2:3], s.Lacking(m), "another process begins with reading")
	require.NoError(t, s.Collect(nil))
	require.Equal(t, s.Missing(m), s.Lacking(m))
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

// What a kill in the middle of a write leaves behind goes at the next start;
// checkpoints stay.
func TestLeftoversAreRemoved(t *testing.T) {
	fs := durable.OS(t.TempDir())
	s, err := checkpoint.Open(fs)
	require.NoError(t, err)
	_, d := write(t, s, []byte("state"))
	for _, dir := range []string{"chunks", "manifests"} {
		require.NoError(t, fs.WriteFile(dir+"/"+chain.Hash{1}.String()+".tmp123456", make([]byte, checkpoint.ChunkSize)))
	}
	s, err = checkpoint.Open(fs)
	require.NoError(t, err)
	for _, dir := range []string{"chunks", "manifests"} {
		names, err := fs.List(dir)
		require.NoError(t, err)
		require.Len(t, names, 1)
	}
	require.True(t, s.Complete(d))
}

// unsure is a file system in which a file is there and its name may not be on
// the disk.
type unsure struct {
	durable.FS
	broken bool
}

func (u *unsure) SyncDir(dir string) error {
	err := u.FS.SyncDir(dir)
	if u.broken {
		err = durable.ErrUnsure
	}
	return err
}

func (u *unsure) WriteFile(name string, data []byte) error {
	err := u.FS.WriteFile(name, data)
	if u.broken {
		err = durable.ErrUnsure
	}
	return err
}

// What may not be on the disk counts as missing, though it can be read.
func TestUnsureWritesAreMissing(t *testing.T) {
	whole, err := checkpoint.Open(durable.NewMem().Sub("c"))
	require.NoError(t, err)
	m, d := write(t, whole, []byte("state"))
	manifest, err := whole.ManifestBytes(d)
	require.NoError(t, err)
	chunk, err := whole.Chunk(m.Chunks[0])
	require.NoError(t, err)

	fs := &unsure{FS: durable.NewMem().Sub("c")}
	s, err := checkpoint.Open(fs)
	require.NoError(t, err)
	fs.broken = true
	require.Error(t, s.PutManifest(d, manifest))
	require.NoError(t, s.PutChunk(m.Chunks[0], chunk))
	require.Error(t, s.Sync())
	fs.broken = false
	require.False(t, s.HasManifest(d))
	require.Equal(t, m.Chunks, s.Lacking(m))

	fs.broken = true
	w, err := s.Writer(position(t))
	require.NoError(t, err)
	_, err = w.Write([]byte("state"))
	require.NoError(t, err)
	_, _, err = w.Commit()
	require.Error(t, err)
	require.Equal(t, m.Chunks, s.Lacking(m))
}

// Whatever was put and looked at, what does not lack is there after a power cut.
func TestWhatDoesNotLackIsOnTheDisk(t *testing.T) {
	whole, err := checkpoint.Open(durable.NewMem().Sub("c"))
	require.NoError(t, err)
	m, d := write(t, whole, bytes.Repeat([]byte("state of more than one chunk "), checkpoint.ChunkSize/10))
	manifest, err := whole.ManifestBytes(d)
	require.NoError(t, err)
	require.Greater(t, len(m.Chunks), 2)
	for _, look := range []bool{false, true} {
		mem := durable.NewMem()
		s, err := checkpoint.Open(mem.Sub("c"))
		require.NoError(t, err)
		require.NoError(t, s.PutManifest(d, manifest))
		for _, h := range m.Chunks {
			chunk, err := whole.Chunk(h)
			require.NoError(t, err)
			require.NoError(t, s.PutChunk(h, chunk))
			_, err = s.Chunk(h) // a member that wants it may have it
			require.NoError(t, err)
		}
		if look {
			require.Empty(t, s.Lacking(m))
		}
		mem.Crash()
		s, err = checkpoint.Open(mem.Sub("c"))
		require.NoError(t, err)
		require.Equal(t, !look, len(s.Missing(m)) > 0)
	}
}

// A process that was killed before a name was on the disk leaves a chunk that can
// be read. It is held only once the name is on the disk, too.
func TestNamesAreDurableOnceOpen(t *testing.T) {
	whole, err := checkpoint.Open(durable.NewMem().Sub("c"))
	require.NoError(t, err)
	m, _ := write(t, whole, []byte("state"))
	chunk, err := whole.Chunk(m.Chunks[0])
	require.NoError(t, err)
	mem := durable.NewMem()
	f, err := mem.Sub("c").Open("chunks/"+m.Chunks[0].String(), true)
	require.NoError(t, err)
	_, err = f.WriteAt(chunk, 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	s, err := checkpoint.Open(mem.Sub("c"))
	require.NoError(t, err)
	require.Empty(t, s.Lacking(m))
	mem.Crash()
	require.Empty(t, s.Missing(m))
}
