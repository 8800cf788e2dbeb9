package peernet

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
)

func started(p Identity, times int) Identity {
	for range times {
		p.Starts++
		p.Marks = p.Marks.Next()
	}
	return p
}

// A store that was put back to an earlier state is refused however often it is
// started after. The right one is let in again, and so is one that was never
// put back and was started often while nobody saw it.
func TestPutBackAndStartedOften(t *testing.T) {
	g := testGate(t, "a")
	again := func() { // this member starts again
		var err error
		g, err = newGate(g.id, g.key, g.roster, g.memory)
		require.NoError(t, err)
	}
	b := started(Identity{Member: "b", StoreID: [16]byte{2}}, 5)
	old := b // a copy of the disk
	b = started(b, 5)
	require.NoError(t, g.remember(b))
	for n := range 200 {
		old = started(old, 1)
		require.ErrorContains(t, g.remember(old), "put back", "start %d", n)
		if n%7 == 0 {
			again()
		}
	}
	b = started(b, 63)
	require.NoError(t, g.remember(b))
	again()
	require.ErrorContains(t, g.remember(old), "put back")
	require.ErrorContains(t, g.remember(started(b, 64)), "remove peers/b")

	c := started(Identity{Member: "c", StoreID: [16]byte{3}}, 5)
	require.NoError(t, g.remember(c))
	require.NoError(t, g.remember(started(c, 1000)))
}

func TestGoldenPutBack(t *testing.T) {
	g := testGate(t, "a")
	b := started(Identity{Member: "b", StoreID: [16]byte{2}}, 2)
	b.Marks[0] = [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	require.NoError(t, g.remember(b))
	b.Starts--
	require.Error(t, g.remember(b))
	memory, err := g.memory.ReadFile("b", 100)
	require.NoError(t, err)
	golden.Bytes(t, "memory-put-back", memory)
	require.NoError(t, g.memory.WriteFile("b", golden.Read(t, "memory-put-back")))
	g, err = newGate(g.id, g.key, g.roster, g.memory)
	require.NoError(t, err)
	require.Equal(t, peerStore{[16]byte{2}, 2, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, true}, g.known["b"])
}

// killed is a file system under a process that is killed between the renaming of
// a file and the fsync of its directory.
type killed struct{ durable.FS }

func (k killed) WriteFile(name string, data []byte) error {
	return errors.Join(k.Place(name, data), errors.New("killed"))
}

// What a member reads at its start of another one's store, it also knows after a
// power cut: it lets that one in without writing it down again.
func TestWhatIsReadOfAPeerIsDurable(t *testing.T) {
	g := testGate(t, "a")
	disk := durable.NewMem()
	g.memory = disk.Sub("peers")
	old := started(Identity{Member: "b", StoreID: [16]byte{2}}, 1)
	b := started(old, 1)
	require.NoError(t, g.remember(old))
	g.memory = killed{g.memory}
	require.ErrorContains(t, g.remember(b), "killed")

	g, err := newGate(g.id, g.key, g.roster, disk.Sub("peers"))
	require.NoError(t, err)
	require.NoError(t, g.remember(b))
	disk.Crash()
	g, err = newGate(g.id, g.key, g.roster, disk.Sub("peers"))
	require.NoError(t, err)
	require.ErrorContains(t, g.remember(old), "put back")
}
