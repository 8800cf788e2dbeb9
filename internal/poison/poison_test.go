package poison_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/poison"
)

func event(producer string, n, seq uint64) (chain.Event, chain.Hash) {
	ev := chain.Event{Producer: producer, Sequence: n, Seq: seq, Term: 3, Payload: []byte("payload")}
	return ev, chain.EventDigest(producer, n, ev.Payload)
}

func open(t testing.TB, fs durable.FS, now time.Time) (*poison.Book, []poison.Death) {
	t.Helper()
	b, found, err := poison.Open(fs, now.UnixNano())
	require.NoError(t, err)
	return b, found
}

var noon = time.Unix(1_800_000_000, 0)

// die leaves the note of an event behind, as a process that ends in it would.
func die(t testing.TB, fs durable.FS, replay bool, producer string, n, seq uint64) {
	b, _ := open(t, fs, noon)
	p := b.Pen(replay)
	p.Begin()
	p.Note(event(strings.Repeat("long", 16), 1, seq-1))
	p.Note(event(producer, n, seq))
}

// On real files and in memory alike.
func systems(t *testing.T, f func(*testing.T, durable.FS)) {
	t.Run("memory", func(t *testing.T) { f(t, durable.NewMem().Sub("d")) })
	t.Run("files", func(t *testing.T) { f(t, durable.OS(t.TempDir())) })
}

func TestNotesAreDeaths(t *testing.T) {
	systems(t, func(t *testing.T, fs durable.FS) {
		_, in := event("p", 7, 0)
		for n := uint32(1); n <= 2; n++ {
			die(t, fs, false, "p", 7, 40+uint64(n))
			b, found := open(t, fs, noon)
			require.Equal(t, []poison.Death{{Input: in, Producer: "p", Sequence: 7, Seq: 40 + uint64(n), Term: 3, Count: n, Time: noon.UnixNano()}}, found)
			require.Equal(t, found, b.Deaths())
			require.NoError(t, b.Close())
		}
		_, found := open(t, fs, noon)
		require.Empty(t, found, "a death is counted once")
	})
}

// A replay is another thing than a new event, and an unnumbered event has none.
func TestDeathsAreToldApart(t *testing.T) {
	systems(t, func(t *testing.T, fs durable.FS) {
		die(t, fs, false, "", 0, 5)
		die(t, fs, true, "", 0, 5)
		die(t, fs, true, "", 0, 9)
		b, _ := open(t, fs, noon)
		require.Len(t, b.Deaths(), 3)
		b.Forget(func(d *poison.Death) bool { return d.Replay })
		require.NoError(t, b.Save())
		b, _ = open(t, fs, noon)
		require.Len(t, b.Deaths(), 1)
		require.Equal(t, fmt.Sprintf("an event without a number (digest %.12s)", b.Deaths()[0].Input), b.Deaths()[0].Name())
		b, _ = open(t, fs, noon.Add(poison.Lifetime+1))
		require.Empty(t, b.Deaths())
	})
}

// What has come back from Process, or is left behind there, is no death.
func TestWhatIsNoDeath(t *testing.T) {
	systems(t, func(t *testing.T, fs durable.FS) {
		b, _ := open(t, fs, noon)
		pens := []*poison.Pen{b.Pen(false), b.Pen(true)}
		for _, p := range pens {
			p.Begin()
			p.Note(event("p", 1, 1))
		}
		pens[0].Clear()
		pens[1].Close()
		pens[1].Note(event("p", 2, 2)) // by a goroutine that was left behind
		_, found := open(t, fs, noon)
		require.Empty(t, found)
	})
}

// stuck is a file system whose scratch page takes nothing until it is released.
type stuck struct {
	durable.FS
	until *atomic.Pointer[chan struct{}]
}

type stuckPage struct {
	durable.Scratch
	until *atomic.Pointer[chan struct{}]
}

func (s stuck) Sub(dir string) durable.FS { return stuck{s.FS.Sub(dir), s.until} }

func (s stuck) Scratch(name string, size int64) (durable.Scratch, error) {
	p, err := s.FS.Scratch(name, size)
	return stuckPage{p, s.until}, err
}

func (p stuckPage) WriteAt(b []byte, off int64) (int, error) {
	if wait := p.until.Load(); wait != nil {
		<-*wait
	}
	return p.Scratch.WriteAt(b, off)
}

// Who closes a pen, whose user hangs in Process, does not wait for the disk.
func TestClosingWaitsForNoDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var until atomic.Pointer[chan struct{}]
		fs := stuck{durable.NewMem().Sub("d"), &until}
		b, _ := open(t, fs, noon)
		p := b.Pen(false)
		p.Note(event("p", 1, 1))
		release := make(chan struct{})
		until.Store(&release)
		began := time.Now()
		p.Close()
		p.Close()
		require.Less(t, time.Since(began), time.Second)
		until.Store(nil)
		close(release)
		synctest.Wait()
		_, found := open(t, fs, noon)
		require.Empty(t, found)
	})
}

// There are only so many slots; who has none is not noted.
func TestPens(t *testing.T) {
	fs := durable.NewMem().Sub("d")
	b, _ := open(t, fs, noon)
	var pens []*poison.Pen
	for n := range uint64(20) {
		p := b.Pen(false)
		p.Begin()
		p.Note(event("p", n+1, n+1))
		pens = append(pens, p)
	}
	for _, p := range pens[:4] {
		p.Close()
		p.Close()
	}
	b.Pen(false).Note(event("q", 1, 1))
	_, found := open(t, fs, noon)
	require.Len(t, found, 13)
	require.True(t, slices.ContainsFunc(found, func(d poison.Death) bool { return d.Producer == "q" }))
}

// The name of a producer is any bytes. One that is no UTF-8 makes a death
// unreadable neither to the next process nor to another member, also if an older
// version wrote it.
func TestDeathOfAnyName(t *testing.T) {
	name := strings.Repeat("\xff", chain.MaxProducer)
	fs := durable.NewMem().Sub("d")
	die(t, fs, false, name, 7, 41)
	b, found := open(t, fs, noon)
	require.Len(t, found, 1)
	_, in := event(name, 7, 0)
	require.Equal(t, in, found[0].Input)
	data, err := json.Marshal(b.Deaths())
	require.NoError(t, err)
	ds, err := poison.ParseDeaths(data)
	require.NoError(t, err)
	require.Equal(t, found, ds)
	require.NoError(t, b.Close())
	b, _ = open(t, fs, noon)
	require.Equal(t, found, b.Deaths())

	ds[0].Producer = name
	data, err = json.Marshal(ds)
	require.NoError(t, err)
	ds, err = poison.ParseDeaths(data)
	require.NoError(t, err)
	require.Equal(t, in, ds[0].Input)
}

// The oldest go first.
func TestDeathsAreBounded(t *testing.T) {
	fs := durable.NewMem().Sub("d")
	for n := range uint64(poison.MaxDeaths + 3) {
		die(t, fs, false, "p", n+1, n+1)
	}
	b, _ := open(t, fs, noon)
	ds := b.Deaths()
	require.Len(t, ds, poison.MaxDeaths)
	require.EqualValues(t, 4, ds[0].Sequence)
	require.NoError(t, poison.Check(ds))
	require.Error(t, poison.Check(append(ds, ds[0])))
}

// A note or list that is torn, flipped, or of another version holds nothing, and
// keeps no member from starting.
func TestDamage(t *testing.T) {
	fs := durable.NewMem().Sub("d")
	die(t, fs, false, "p", 7, 41)
	whole, err := fs.ReadFile("note", 1<<16)
	require.NoError(t, err)
	for i := range 192 * 8 {
		b := slices.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		require.NoError(t, fs.WriteFile("note", b))
		_, found := open(t, fs, noon)
		require.Empty(t, found, "bit %d", i)
	}
	for size := range 192 {
		require.NoError(t, fs.WriteFile("note", whole[:size]))
		_, found := open(t, fs, noon)
		require.Empty(t, found, "%d bytes", size)
	}
	require.NoError(t, fs.WriteFile("note", make([]byte, 1<<17)))
	open(t, fs, noon)
	require.NoError(t, fs.WriteFile("note", whole))
	_, found := open(t, fs, noon)
	require.Len(t, found, 1)

	list, err := fs.ReadFile("deaths", 1<<20)
	require.NoError(t, err)
	for i := range list {
		b := slices.Clone(list)
		b[i] ^= 0x40
		require.NoError(t, fs.WriteFile("deaths", b))
		book, _ := open(t, fs, noon)
		require.Empty(t, book.Deaths())
	}
}

func TestGolden(t *testing.T) {
	fs := durable.NewMem().Sub("d")
	die(t, fs, true, "p", 7, 41)
	b, err := fs.ReadFile("note", 1<<16)
	require.NoError(t, err)
	golden.Bytes(t, "note", b[:192])
	a, ok := poison.ParseNote(golden.Read(t, "note"))
	require.True(t, ok)
	_, in := event("p", 7, 0)
	require.Equal(t, poison.Attempt{Replay: true, Term: 3, Seq: 41, Producer: "p", Sequence: 7, Input: in}, a)

	open(t, fs, noon)
	b, err = fs.ReadFile("deaths", 1<<20)
	require.NoError(t, err)
	golden.Bytes(t, "deaths", b)
	ds, err := poison.ParseDeaths(golden.Read(t, "deaths")[36:])
	require.NoError(t, err)
	require.Equal(t, []poison.Death{{Input: in, Producer: "p", Sequence: 7, Replay: true, Seq: 41, Term: 3, Count: 1, Time: noon.UnixNano()}}, ds)
}

// Whatever is in the page, a note that is taken from it is written the same again.
func FuzzNote(f *testing.F) {
	golden.Seed(f, "note")
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := poison.ParseNote(b)
		if !ok {
			return
		}
		fs := durable.NewMem().Sub("d")
		book, _ := open(t, fs, noon)
		p := book.Pen(a.Replay)
		p.Note(chain.Event{Producer: a.Producer, Sequence: a.Sequence, Seq: a.Seq, Term: a.Term}, a.Input)
		page, err := fs.ReadFile("note", 1<<16)
		require.NoError(t, err)
		require.Equal(t, b[:192], page[:192])
	})
}

// A list is refused or could be a member's.
func FuzzDeaths(f *testing.F) {
	f.Add([]byte(`[{"input":"` + strings.Repeat("0a", 32) + `","producer":"p","sequence":7,"seq":41,"term":3,"count":1,"time":5}]`))
	f.Add([]byte(`[{"count":1},{"count":0}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ds, err := poison.ParseDeaths(b)
		if err != nil {
			return
		}
		require.NoError(t, poison.Check(ds))
		again, err := json.Marshal(ds)
		require.NoError(t, err)
		back, err := poison.ParseDeaths(again)
		require.NoError(t, err)
		require.Equal(t, len(ds), len(back))
	})
}

// BenchmarkNote is what an event costs.
func BenchmarkNote(b *testing.B) {
	book, _ := open(b, durable.OS(b.TempDir()), noon)
	defer book.Close()
	p := book.Pen(false)
	ev, in := event("producer", 7, 41)
	for b.Loop() {
		p.Note(ev, in)
	}
}

// BenchmarkBatch is what a batch costs besides its events.
func BenchmarkBatch(b *testing.B) {
	book, _ := open(b, durable.OS(b.TempDir()), noon)
	defer book.Close()
	p := book.Pen(false)
	ev, in := event("producer", 7, 41)
	for b.Loop() {
		p.Begin()
		p.Note(ev, in)
		p.Clear()
	}
}
