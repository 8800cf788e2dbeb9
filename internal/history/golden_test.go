package history_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/internal/testkit"
)

var files = []string{"links", "hashes", "records", "index"}

func TestGoldenFiles(t *testing.T) {
	links, records, tips := grow(t, 23)
	fs := durable.NewMem().Sub("h")
	s, err := history.Open(fs, links[0].Origin)
	require.NoError(t, err)
	fill(t, s, links, records, 7)
	require.NoError(t, s.Close())
	for _, name := range files {
		b, err := fs.ReadFile(name, 1<<20)
		require.NoError(t, err)
		golden.Bytes(t, name, b)
		require.NoError(t, fs.WriteFile(name, golden.Read(t, name)))
	}
	s, err = history.Open(fs, links[0].Origin)
	require.NoError(t, err)
	require.NoError(t, s.Check(tips[22].Frontier))
	for seq, want := range records {
		got, err := s.Record(seq)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, want := range links {
		got, err := s.Link(want.Seq)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// Whatever the files hold, the store opens or says why not, gives no link that
// its tree does not have, and opens as the same history again.
func FuzzHistoryFiles(f *testing.F) {
	f.Add(golden.Read(f, "links"), golden.Read(f, "hashes"), golden.Read(f, "records"), golden.Read(f, "index"))
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(f, err)
	origin := tip.Head.Link.Origin
	fs := durable.NewMem().Sub("h")
	require.NoError(f, fs.MkdirAll("."))
	f.Fuzz(func(t *testing.T, links, hashes, records, index []byte) {
		content := [][]byte{links, hashes, records, index}
		total := 0
		for i, name := range files {
			require.NoError(t, fs.WriteFile(name, content[i]))
			total += len(content[i])
		}
		var s *history.Store
		golden.Bounded(t, total, func() {
			var err error
			s, err = history.Open(fs, origin)
			require.NoError(t, err, "what a crash tears is cut")
		})
		size := s.Size()
		golden.Bounded(t, 32*total, func() {
			for seq := range size {
				if l, err := s.Link(seq); err == nil {
					require.Equal(t, seq, l.Seq)
				}
				s.Record(seq)
			}
		})
		if size > 0 {
			last, err := s.Link(size - 1)
			if err == nil {
				require.NoError(t, s.PutRecord(size, []byte("record")))
				got, err := s.Record(size)
				require.NoError(t, err)
				require.Equal(t, "record", string(got))
				require.Equal(t, size-1, last.Seq)
			}
		}
		require.NoError(t, s.Close())
		s, err := history.Open(fs, origin)
		require.NoError(t, err)
		require.Equal(t, size, s.Size())
		require.NoError(t, s.Close())
	})
}
