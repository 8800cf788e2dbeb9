package history_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/history"
)

// Whatever byte of whatever file is changed, a scrub finds a place up to which
// the history is whole; cut there and filled again, it is whole again.
func TestScrub(t *testing.T) {
	links, records, _ := grow(t, 64)
	good := durable.NewMem().Sub(".")
	s, err := history.Open(good, links[0].Origin)
	require.NoError(t, err)
	fill(t, s, links, records, 9)
	require.NoError(t, s.Close())
	names := []string{"links", "hashes", "records", "index"}
	files := make(map[string][]byte)
	for _, name := range names {
		files[name], err = good.ReadFile(name, 1<<20)
		require.NoError(t, err)
	}
	for _, name := range names {
		found := 0
		for at := 0; at < len(files[name]); at += 7 {
			fs := durable.NewMem().Sub(".")
			for other, b := range files {
				if other == name {
					b = bytes.Clone(b)
					b[at] ^= 0x10
				}
				require.NoError(t, fs.WriteFile(other, b))
			}
			s, err := history.Open(fs, links[0].Origin)
			require.NoError(t, err)
			upTo, err := uint64(0), error(nil)
			for upTo < s.Size() && err == nil {
				upTo, err = s.Scrub(upTo, 10)
			}
			if err != nil {
				require.ErrorIs(t, err, durable.ErrDamaged)
				require.NoError(t, s.Truncate(upTo))
				found++
			}
			fill(t, s, links, records, 4)
			upTo, err = s.Scrub(0, len(links)+1)
			require.NoError(t, err, "byte %d of %s", at, name)
			require.EqualValues(t, len(links), upTo)
			for i := range links {
				l, err := s.Link(uint64(i))
				require.NoError(t, err)
				require.Equal(t, links[i], l)
				if want, ok := records[uint64(i)]; ok {
					rec, err := s.Record(uint64(i))
					require.NoError(t, err)
					require.Equal(t, want, rec)
				}
			}
			require.NoError(t, s.Close())
		}
		require.NotZero(t, found, name)
	}
	// A whole chain that is another one is no damage of a file, but not this one.
	other := chain.Link{Origin: links[0].Origin, Seq: 64, Kind: chain.KindStep}
	s, err = history.Open(good, links[0].Origin)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Append([]chain.Link{other}))
	at, err := s.Scrub(60, 10)
	require.ErrorIs(t, err, durable.ErrDamaged)
	require.EqualValues(t, 64, at)
}
