package outputs_test

import (
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

func filled(t *testing.T, fs durable.FS, to uint64) (*outputs.Store, []string) {
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	fill(t, s, to)
	names, err := fs.List(".")
	require.NoError(t, err)
	require.Greater(t, len(names), 2)
	return s, names
}

func firstOf(name string) (n uint64) {
	for _, c := range strings.TrimSuffix(name, ".out") {
		n = n*10 + uint64(c-'0')
	}
	return n
}

// What is appended after a cut goes on only where the file before is whole.
func TestAppendAfterAFileThatLostItsEnd(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	_, names := filled(t, fs, 300)
	last := firstOf(names[len(names)-1])
	f, err := fs.Open(names[len(names)-2], false)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size-600)) // the file lost its end
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	require.NoError(t, s.Truncate(last))
	require.NoError(t, s.Append(some(last, last+5)))
	got, err := s.Read(last, 5)
	require.NoError(t, err, "what is appended after damage can be read")
	require.True(t, reflect.DeepEqual(some(last, last+5), got), "%d outputs", len(got))
	require.NoError(t, s.Sync())
	s, err = outputs.Open(fs, small)
	require.NoError(t, err)
	require.Equal(t, last+5, s.Next(), "what was synced is there after a restart")
}

// A file may be shorter than files are now: it is gone on with, whole.
func TestAppendToAFileOfAnotherSize(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	_, names := filled(t, fs, 300)
	last := firstOf(names[len(names)-1])
	s, err := outputs.Open(fs, outputs.Retention{Bytes: 1 << 40, SegmentBytes: 1 << 20}) // files were smaller once
	require.NoError(t, err)
	require.NoError(t, s.Truncate(last))
	require.NoError(t, s.Append(some(last, last+200)))
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(some(1, last+200), got), "%d outputs", len(got))
}

// A skip that fails halfway leaves a store that goes on after what it has.
func TestFailedSkip(t *testing.T) {
	disk, fail := keeping()
	s, err := outputs.Open(disk.Sub("o"), small)
	require.NoError(t, err)
	fill(t, s, 500)
	*fail = true
	require.Error(t, s.Skip(900))
	*fail = false
	next := s.Next()
	require.NoError(t, s.Append(some(next, next+3)))
	require.NotPanics(t, func() {
		got, err := s.Read(next-1, 1)
		require.NoError(t, err)
		require.Len(t, got, 1)
	})
}

// cutFS writes only a part, once.
type cutFS struct {
	durable.FS
	left *int // bytes until ENOSPC; -1: none
}
type cutFile struct {
	durable.File
	left *int
}

func (c cutFS) Open(name string, create bool) (durable.File, error) {
	f, err := c.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return cutFile{f, c.left}, nil
}

func (c cutFile) WriteAt(b []byte, off int64) (int, error) {
	if *c.left >= 0 && len(b) > *c.left {
		n, _ := c.File.WriteAt(b[:*c.left], off)
		return n, syscall.ENOSPC
	}
	return c.File.WriteAt(b, off)
}

// What a full disk left of a write is no damage once it has room again.
func TestHalfWrittenAppend(t *testing.T) {
	left := -1
	fs := cutFS{durable.NewMem().Sub("o"), &left}
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	require.NoError(t, s.Append(some(1, 70))) // just under 4000 bytes
	left = 1000
	require.ErrorIs(t, s.Append(some(70, 130)), syscall.ENOSPC)
	left = -1
	for n := uint64(70); n < 130; n++ { // tried again, one entry at a time
		require.NoError(t, s.Append(some(n, n+1)))
	}
	require.NoError(t, s.Sync())
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(some(1, 130), got), "%d outputs", len(got))
	s, err = outputs.Open(fs, small)
	require.NoError(t, err)
	got, err = s.Read(1, 1000)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(some(1, 130), got), "%d outputs", len(got))
}

// The newest file may be removed while it is synced, whatever it is wrapped in.
func TestSyncOfAClosedFile(t *testing.T) {
	var inSync func()
	fs := durable.Gated(durable.OS(t.TempDir()), func() error {
		if f := inSync; f != nil {
			inSync = nil
			f()
		}
		return nil
	})
	s, names := filled(t, fs, 300)
	require.NoError(t, s.Close())
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	inSync = func() { require.NoError(t, s.Truncate(firstOf(names[len(names)-1]))) }
	require.NotPanics(t, func() { require.NoError(t, s.Sync()) })
}

// How old damaged outputs are is not known if nothing whole follows: they stay.
func TestPruneLeavesYoungDamage(t *testing.T) {
	for _, what := range []string{"the newest is empty", "the next one begins with damage"} {
		t.Run(what, func(t *testing.T) {
			fs := durable.NewMem().Sub("o")
			_, names := filled(t, fs, 300)
			flip := func(name string, at int64) {
				f, err := fs.Open(name, false)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte{0xff}, at)
				require.NoError(t, err)
			}
			n := len(names)
			flip(names[n-2], 1000)
			if what == "the newest is empty" {
				f, err := fs.Open(names[n-1], false)
				require.NoError(t, err)
				require.NoError(t, f.Truncate(0))
				for _, name := range names[:n-2] {
					require.NoError(t, fs.Remove(name))
				}
			} else {
				flip(names[0], 3000) // nearly all of it is there
				flip(names[1], 50)
			}
			s, err := outputs.Open(fs, small)
			require.NoError(t, err)
			oldest := s.Oldest()
			// everything but GENESIS is young
			require.NoError(t, s.Prune(func(seq uint64) bool { return seq < 2 }))
			require.Equal(t, oldest, s.Oldest(), "young outputs are removed")
		})
	}
}

// A disk that hangs under a writer holds up no reader, also of a file that nobody read yet.
func TestReadWaitsForNoFsync(t *testing.T) {
	disk := durable.NewMem()
	fs := disk.Sub("o")
	filled(t, fs, 300)
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	hangs, go_on := make(chan bool, 1), make(chan bool)
	disk.Hook = func(op, name string) error {
		if op == "sync" {
			select {
			case hangs <- true:
			default:
			}
			<-go_on
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		for n := uint64(300); n < 500; n++ {
			if err := s.Append(some(n, n+1)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	<-hangs
	read := make(chan error, 1)
	go func() { _, err := s.Read(1, 5); read <- err }()
	select {
	case err := <-read:
		require.NoError(t, err)
	case <-time.After(3 * time.Second):
		t.Error("a reader waits for an fsync of the newest segments")
	}
	close(go_on)
	require.NoError(t, <-done)
}

// A file that was removed and comes back does no harm, and its removal is made durable.
func TestRemovalsAreDurable(t *testing.T) {
	disk := durable.NewMem()
	fs := disk.Sub("o")
	s, names := filled(t, fs, 300)
	require.NoError(t, s.Sync())
	gone := names[len(names)-1]
	c := firstOf(gone)
	old, err := fs.ReadFile(gone, 1<<20)
	require.NoError(t, err)
	synced := false
	disk.Hook = func(op, name string) error { synced = synced || op == "syncdir"; return nil }
	whole, err := s.Resume(c - 9) // the newest Raft snapshot is a little older
	require.NoError(t, err)
	require.True(t, whole)
	require.NoError(t, s.Append(some(c-9, c+4))) // comes again from the log, in other pieces
	require.NoError(t, s.Sync())
	require.True(t, synced)
	disk.Crash()
	require.NoError(t, fs.WriteFile(gone, old)) // it was not: the name is there again
	s, err = outputs.Open(fs, small)
	require.NoError(t, err)
	whole, err = s.Resume(c + 4)
	require.NoError(t, err)
	require.True(t, whole)
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(some(1, c+4), got), "%d outputs", len(got))
}

type wbFS struct {
	durable.FS
	n *int
}
type wbFile struct {
	durable.File
	n *int
}

func (w wbFS) Open(name string, create bool) (durable.File, error) {
	f, err := w.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return wbFile{f, w.n}, nil
}
func (w wbFile) WriteBack(off, size int64) { *w.n++ }

// Also the file that is gone on with after a restart is written as it comes.
func TestSteadyAfterARestart(t *testing.T) {
	n := 0
	fs := wbFS{durable.NewMem().Sub("o"), &n}
	payload := make([]byte, 1<<20)
	one := func(s *outputs.Store) {
		require.NoError(t, s.Append([]chain.Output{{Number: s.Next(), Payload: payload}}))
	}
	s, err := outputs.Open(fs, outputs.Retention{})
	require.NoError(t, err)
	one(s)
	one(s)
	require.Equal(t, 2, n)
	s, err = outputs.Open(fs, outputs.Retention{})
	require.NoError(t, err)
	one(s)
	one(s)
	require.Greater(t, n, 2, "after a restart nothing is written back as it comes")
}

// A disk that did not answer once says nothing of what is on it.
func TestOneReadErrorPasses(t *testing.T) {
	disk := durable.NewMem()
	fs := disk.Sub("o")
	_, names := filled(t, fs, 300)
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	once := true
	disk.Hook = func(op, name string) error {
		if op == "read" && strings.HasSuffix(name, names[0]) && once {
			once = false
			return syscall.EIO
		}
		return nil
	}
	_, err = s.Read(1, 5)
	if err != nil {
		_, err = s.Read(1, 5)
	}
	require.NoError(t, err, "nothing is damaged")
}

// Whoever has a copy of a damaged file can put it back, though it goes on past where the store did.
func TestRepairedByHand(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	s, err := outputs.Open(fs, outputs.Retention{})
	require.NoError(t, err)
	fill(t, s, 100)
	copied, err := fs.ReadFile(firstSegment, 1<<20)
	require.NoError(t, err)
	f, err := fs.Open(firstSegment, false)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 2000)
	require.NoError(t, err)
	s, err = outputs.Open(fs, outputs.Retention{})
	require.NoError(t, err)
	whole, err := s.Resume(90) // the Raft snapshot's; what is after it comes again
	require.NoError(t, err)
	require.False(t, whole)
	require.NoError(t, s.Append(some(90, 120)))
	require.NoError(t, s.Close())
	require.NoError(t, fs.WriteFile(firstSegment, copied)) // somebody has a copy of the file
	s, err = outputs.Open(fs, outputs.Retention{})
	require.NoError(t, err)
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(some(1, 120), got), "%d outputs", len(got))
}
