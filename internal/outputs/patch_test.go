package outputs_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

func damage(t *testing.T, fs durable.FS, name string, at int64) {
	t.Helper()
	f, err := fs.Open(name, false)
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	require.NoError(t, err)
	b[0] ^= 8
	_, err = f.WriteAt(b[:], at)
	require.NoError(t, err)
}

func damaged(t *testing.T, err error) *outputs.DamagedError {
	t.Helper()
	var d *outputs.DamagedError
	require.ErrorAs(t, err, &d)
	return d
}

// holds sees that all outputs before next can be read, also after a restart.
func holds(t *testing.T, fs durable.FS, s *outputs.Store, next uint64) *outputs.Store {
	t.Helper()
	for range 2 {
		got, err := s.Read(1, 1000)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(some(1, next), got), "%d outputs", len(got))
		s, err = outputs.Open(fs, small)
		require.NoError(t, err)
	}
	return s
}

// What lies before damage is read, and what lies behind it as soon as the one
// output that is damaged is back.
func TestPatch(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	_, names := filled(t, fs, 300)
	damage(t, fs, names[1], 1000)
	damage(t, fs, names[1], 2000)
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	first, next := firstOf(names[1]), firstOf(names[2])
	for range 2 {
		_, err = s.Read(next-1, 1)
		d := damaged(t, err)
		require.Equal(t, next-1, d.To)
		require.Greater(t, d.From, first)
		got, err := s.Read(first, 1000)
		require.NoError(t, err)
		require.Equal(t, some(first, d.From), got)
		from, err := s.Patch(some(d.From, d.From+1))
		require.NoError(t, err)
		require.Greater(t, from, d.From+5)
	}
	s = holds(t, fs, s, 300)
	from, err := s.Patch(some(first, first+3))
	require.NoError(t, err)
	require.Equal(t, next, from, "nothing is damaged")
}

// Files that are gone come back piece by piece.
func TestPatchOfMissingFiles(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	_, names := filled(t, fs, 600)
	require.NoError(t, fs.Remove(names[1]))
	require.NoError(t, fs.Remove(names[2]))
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	_, err = s.Read(firstOf(names[2]), 1)
	d := damaged(t, err)
	require.Equal(t, outputs.DamagedError{From: firstOf(names[1]), To: firstOf(names[3]) - 1}, *d)
	require.NoError(t, mend(s, d))
	holds(t, fs, s, 600)
}

// A cut into a damaged file keeps what is whole before it.
func TestTruncateInADamagedFile(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	_, names := filled(t, fs, 300)
	at := len(names) - 2
	damage(t, fs, names[at], 3000)
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	require.NoError(t, s.Truncate(firstOf(names[at+1])-1))
	require.Greater(t, s.Next(), firstOf(names[at])+20)
	fill(t, s, 300)
	got, err := s.Read(1, 1000)
	require.NoError(t, err)
	require.True(t, reflect.DeepEqual(some(1, 300), got), "%d outputs", len(got))
}

// A scrub finds what became damaged after it was read, in any file, and nothing else.
func TestScrub(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	_, names := filled(t, fs, 300)
	for at := range names {
		s, err := outputs.Open(fs, small)
		require.NoError(t, err)
		_, err = s.Read(1, 1000)
		require.NoError(t, err)
		damage(t, fs, names[at], 700)
		found := 0
		for from := s.Oldest(); from < s.Next(); {
			next, err := s.Scrub(from)
			if err != nil {
				d := damaged(t, err)
				require.Equal(t, next-1, d.To)
				require.GreaterOrEqual(t, d.From, from)
				require.NoError(t, mend(s, d))
				found++
			}
			require.Greater(t, next, from)
			from = next
		}
		require.Equal(t, 1, found, names[at])
		got, err := s.Read(1, 1000)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(some(1, 300), got), "%d outputs", len(got))
		require.Equal(t, uint64(300), s.Next())
	}
}

// A scrub that meets a writer takes nothing for damage, and loses nothing.
func TestScrubDuringChanges(t *testing.T) {
	fs := durable.OS(t.TempDir())
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	fill(t, s, 500)
	done := make(chan error, 1)
	stop := time.Now().Add(300 * time.Millisecond)
	go func() {
		for time.Now().Before(stop) {
			next := s.Next()
			if err := errors.Join(s.Append(some(next, next+20)), s.Truncate(next+7)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for from := uint64(1); time.Now().Before(stop); {
		next, err := s.Scrub(from)
		require.NoError(t, err)
		if from = next; from >= s.Next() {
			from = 1
		}
	}
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
}

// A patch of the newest file waits for an append that is under way, and keeps
// what it added.
func TestPatchDuringAppend(t *testing.T) {
	mem := durable.NewMem()
	s, err := outputs.Open(mem.Sub("o"), outputs.Retention{})
	require.NoError(t, err)
	require.NoError(t, s.Append(some(1, 3)))
	damage(t, mem.Sub("o"), firstSegment, 5)
	patched := make(chan error, 1)
	once := true
	mem.Hook = func(op, name string) error {
		if op != "write" || !once {
			return nil
		}
		once = false
		go func() { _, err := s.Patch(some(1, 2)); patched <- err }() // a reader found output 1 damaged and has fetched it
		select {
		case err := <-patched:
			return errors.Join(errors.New("it was repaired in the middle of an append"), err)
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	}
	require.NoError(t, s.Append(some(3, 4)))
	require.NoError(t, <-patched)
	mem.Hook = nil
	require.NoError(t, s.Append(some(4, 5)))
	for range 2 {
		got, err := s.Read(1, 10)
		require.NoError(t, err)
		require.Equal(t, some(1, 5), got)
		s, err = outputs.Open(mem.Sub("o"), outputs.Retention{})
		require.NoError(t, err)
	}
}

// A patch that fails can be tried again; one that is not known to be on the disk says so.
func TestFailedPatch(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		disk := durable.NewMem()
		fs := disk.Sub("o")
		_, names := filled(t, fs, 300)
		damage(t, fs, names[0], 1000)
		s, err := outputs.Open(fs, small)
		require.NoError(t, err)
		_, err = s.Read(firstOf(names[1])-1, 1)
		d := damaged(t, err)
		disk.Hook = func(o, name string) error {
			if o == op && strings.Contains(name, names[0]) {
				return errors.New("no space left on device")
			}
			return nil
		}
		_, err = s.Patch(some(d.From, d.From+2))
		require.Error(t, err)
		require.Equal(t, op == "sync", errors.Is(err, durable.ErrUnsure))
		disk.Hook = nil
		require.NoError(t, mend(s, d))
		got, err := s.Read(1, 1000)
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(some(1, 300), got), "%d outputs", len(got))
	}
}
