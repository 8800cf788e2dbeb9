package history_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// grow makes a chain of n links; every tenth is a seal with a record.
func grow(t *testing.T, n int) (links []chain.Link, records map[uint64][]byte, tips []chain.Tip) {
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(t, err)
	links, tips, records = []chain.Link{tip.Head.Link}, []chain.Tip{tip}, map[uint64][]byte{}
	for i := 1; i < n; i++ {
		d := chain.Draft{Kind: chain.KindStep, Input: chain.EventDigest("p", uint64(i), nil)}
		if i%10 == 0 {
			records[uint64(i)] = fmt.Appendf(nil, "record %d", i)
			d = chain.Draft{Kind: chain.KindSeal, Input: chain.RecordDigest(chain.KindSeal, records[uint64(i)])}
		}
		l := tip.Next(d)
		require.NoError(t, tip.Append(&l))
		links, tips = append(links, l), append(tips, tip)
	}
	return links, records, tips
}

func fill(t *testing.T, s *history.Store, links []chain.Link, records map[uint64][]byte, step int) {
	for i := int(s.Size()); i < len(links); i += step {
		part := links[i:min(i+step, len(links))]
		for _, l := range part {
			if r, ok := records[l.Seq]; ok {
				require.NoError(t, s.PutRecord(l.Seq, r))
			}
		}
		require.NoError(t, s.Append(part))
	}
}

func TestHistory(t *testing.T) {
	links, records, tips := grow(t, 100)
	fs := durable.OS(t.TempDir())
	s, err := history.Open(fs, links[0].Origin)
	require.NoError(t, err)
	fill(t, s, links, records, 7)
	for n := 1; n <= 100; n++ {
		root, err := tlog.TreeHash(int64(n), s)
		require.NoError(t, err)
		require.Equal(t, tips[n-1].Root(), chain.Hash(root))
	}
	require.NoError(t, s.Truncate(55))
	require.NoError(t, s.Check(tips[54].Frontier))
	_, err = s.Record(60)
	require.Error(t, err)
	fill(t, s, links, records, 3)
	require.NoError(t, s.Sync())
	require.NoError(t, s.Close())
	s, err = history.Open(fs, links[0].Origin)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Check(tips[99].Frontier))
	for i := range links {
		l, err := s.Link(uint64(i))
		require.NoError(t, err)
		require.Equal(t, links[i], l)
		if i%10 == 0 && i > 0 {
			r, err := s.Record(uint64(i))
			require.NoError(t, err)
			require.Equal(t, records[uint64(i)], r)
		}
	}
	require.Error(t, s.Append(links[5:6]), "only the next link")
}

// A crash leaves a store that opens with a prefix of what was appended and at
// least what was synced.
func TestHistoryCrash(t *testing.T) {
	links, records, tips := grow(t, 60)
	m := durable.NewMem()
	s, err := history.Open(m.Sub("h"), links[0].Origin)
	require.NoError(t, err)
	fill(t, s, links[:30], records, 4)
	require.NoError(t, s.Sync())
	fill(t, s, links, records, 4)
	m.Crash()
	s, err = history.Open(m.Sub("h"), links[0].Origin)
	require.NoError(t, err)
	require.Equal(t, uint64(30), s.Size())
	require.NoError(t, s.Check(tips[29].Frontier))
	fill(t, s, links, records, 4)
	require.NoError(t, s.Check(tips[59].Frontier))
}

// Any changed byte is found or harmless: never a wrong link or record.
func TestHistoryFlips(t *testing.T) {
	links, records, tips := grow(t, 25)
	for _, name := range []string{"links", "hashes", "records", "index"} {
		for at := int64(0); ; at += 13 {
			m := durable.NewMem()
			fs := m.Sub("h")
			s, err := history.Open(fs, links[0].Origin)
			require.NoError(t, err)
			fill(t, s, links, records, 5)
			f, err := fs.Open(name, false)
			require.NoError(t, err)
			size, _ := f.Size()
			if at >= size {
				break
			}
			var b [1]byte
			f.ReadAt(b[:], at)
			b[0] ^= 1 << (at % 8)
			f.WriteAt(b[:], at)
			if s, err = history.Open(fs, links[0].Origin); err != nil {
				continue
			}
			whole := s.Size() == 25 && s.Check(tips[24].Frontier) == nil
			for i := range s.Size() {
				if l, err := s.Link(i); err == nil && whole {
					require.Equal(t, links[i], l)
				}
				if r, err := s.Record(i); err == nil {
					require.Equal(t, records[i], r)
				}
			}
		}
	}
}

// A cut that fails, since the disk does not give what the tree grows on from,
// changes nothing: what is appended after it is in its right place.
func TestFailedCut(t *testing.T) {
	links, records, tips := grow(t, 100)
	m := durable.NewMem()
	s, err := history.Open(m.Sub("h"), links[0].Origin)
	require.NoError(t, err)
	fill(t, s, links[:90], records, 7)
	m.Hook = func(op, name string) error {
		if op == "read" && name == "h/hashes" {
			return errors.New("the disk cannot be read")
		}
		return nil
	}
	require.ErrorIs(t, s.Truncate(55), durable.ErrDamaged)
	m.Hook = nil
	fill(t, s, links, records, 7)
	require.NoError(t, s.Check(tips[99].Frontier))
	at, err := s.Scrub(0, 100)
	require.NoError(t, err)
	require.EqualValues(t, 100, at)
}

// A store that is given the tree's hashes is the same as one that computes them,
// and takes none that cannot be them.
func TestAppendTree(t *testing.T) {
	links, records, tips := grow(t, 300)
	s, err := history.Open(durable.NewMem().Sub("h"), links[0].Origin)
	require.NoError(t, err)
	require.NoError(t, s.Append(links[:1]))
	for from, n := 1, 1; from < len(links); from, n = from+n, n%13+1 {
		part, tip, tree := links[from:min(from+n, len(links))], tips[from-1], []chain.Hash(nil)
		for i := range part {
			if r, ok := records[part[i].Seq]; ok {
				require.NoError(t, s.PutRecord(part[i].Seq, r))
			}
			tree = tip.Grow(&part[i], part[i].Hash(), tree)
		}
		require.Error(t, s.AppendTree(part, tree[:len(tree)-1]))
		require.Error(t, s.AppendTree(part, append(tree[:len(tree):len(tree)], tree[0])))
		require.NoError(t, s.AppendTree(part, tree))
		require.Equal(t, tips[from+len(part)-1], tip)
		require.NoError(t, s.Check(tip.Frontier))
	}
	require.NoError(t, s.Truncate(200))
	fill(t, s, links, records, 50)
	require.NoError(t, s.Check(tips[299].Frontier))
	at, err := s.Scrub(0, 300)
	require.EqualValues(t, 300, at)
	require.NoError(t, err)
}

func BenchmarkAppend(b *testing.B) {
	s, err := history.Open(durable.OS(b.TempDir()), testkit.Founding(1).Origin())
	require.NoError(b, err)
	defer s.Close()
	tip, _ := chain.Genesis(testkit.Founding(1))
	require.NoError(b, s.Append([]chain.Link{tip.Head.Link}))
	links := make([]chain.Link, 128)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		tree := make([]chain.Hash, 0, 3*len(links))
		for i := range links {
			links[i] = tip.Next(chain.Draft{Kind: chain.KindStep})
			tree = tip.Grow(&links[i], links[i].Hash(), tree)
		}
		b.StartTimer()
		if err := s.AppendTree(links, tree); err != nil {
			b.Fatal(err)
		}
	}
}

// An index entry that points elsewhere loses its own record and no other, also
// where the links end before it, as after a crash.
func TestDamagedIndexOffset(t *testing.T) {
	for name, offset := range map[string][]byte{
		"below zero":           {0x80, 0, 0, 0, 0, 0, 0, 0},
		"into an earlier one":  {0, 0, 0, 0, 0, 0, 0, 60},
		"beyond the file":      {0, 0, 0, 1, 0, 0, 0, 0},
		"at the first of them": {0, 0, 0, 0, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			links, records, _ := grow(t, 45)
			fs := durable.OS(t.TempDir())
			s, err := history.Open(fs, links[0].Origin)
			require.NoError(t, err)
			fill(t, s, links, records, 45)
			require.NoError(t, s.Close())
			f, err := fs.Open("index", false)
			require.NoError(t, err)
			_, err = f.WriteAt(offset, 3*16+8)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			f, err = fs.Open("links", false)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(38*chain.LinkSize))
			require.NoError(t, f.Close())

			s, err = history.Open(fs, links[0].Origin)
			require.NoError(t, err)
			_, err = s.Record(40)
			require.Error(t, err)
			fill(t, s, links, records, 45)
			for seq, want := range records {
				got, err := s.Record(seq)
				require.NoError(t, err, "seq %d", seq)
				require.Equal(t, want, got)
			}
			require.NoError(t, s.Close())
		})
	}
}

// An index that is gone, cut or damaged at its end takes no record with it: in a
// group of one they are nowhere else.
func TestIndexIsMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(f durable.File) error{
		"gone":         func(f durable.File) error { return f.Truncate(0) },
		"cut":          func(f durable.File) error { return f.Truncate(2*16 + 5) },
		"its last seq": func(f durable.File) error { _, err := f.WriteAt([]byte{1}, 3*16); return err },
	} {
		t.Run(name, func(t *testing.T) {
			links, records, tips := grow(t, 45)
			fs := durable.NewMem().Sub("h")
			s, err := history.Open(fs, links[0].Origin)
			require.NoError(t, err)
			fill(t, s, links, records, 45)
			require.NoError(t, s.Close())
			f, err := fs.Open("index", false)
			require.NoError(t, err)
			require.NoError(t, damage(f))

			s, err = history.Open(fs, links[0].Origin)
			require.NoError(t, err)
			require.NoError(t, s.Check(tips[44].Frontier))
			for seq, want := range records {
				got, err := s.Record(seq)
				require.NoError(t, err, "seq %d", seq)
				require.Equal(t, want, got)
			}
		})
	}
}
