package outputs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/outputs"
)

const firstSegment = "00000000000000000001.out"

func TestGoldenSegment(t *testing.T) {
	fs := durable.NewMem().Sub("o")
	s, err := outputs.Open(fs, small)
	require.NoError(t, err)
	outs := []chain.Output{{Number: 1, Seq: 2, Term: 3, Payload: []byte("one")}, {Number: 2, Seq: 2, Term: 3, Payload: []byte{}}, {Number: 3, Seq: 5, Term: 7, Payload: []byte("three")}}
	require.NoError(t, s.Append(outs))
	require.NoError(t, s.Close())
	b, err := fs.ReadFile(firstSegment, 1<<20)
	require.NoError(t, err)
	golden.Bytes(t, "segment", b)

	require.NoError(t, fs.WriteFile(firstSegment, golden.Read(t, "segment")))
	s, err = outputs.Open(fs, small)
	require.NoError(t, err)
	got, err := s.Read(1, 10)
	require.NoError(t, err)
	require.Equal(t, outs, got)
	require.NoError(t, s.Close())
}

// Whatever a segment and the one after it hold, the store opens, gives outputs
// without gaps or says which are damaged, and takes the next one.
func FuzzOutputFiles(f *testing.F) {
	b := golden.Read(f, "segment")
	f.Add(b, []byte{}, uint8(4))
	f.Add(b, b, uint8(4))
	f.Add(b[:len(b)-1], b[:40], uint8(3))
	f.Fuzz(func(t *testing.T, first, second []byte, at uint8) {
		fs := durable.NewMem().Sub("o")
		require.NoError(t, fs.MkdirAll("."))
		require.NoError(t, fs.WriteFile(firstSegment, first))
		if at > 1 {
			require.NoError(t, fs.WriteFile("000000000000000000"+string([]byte{'0' + at/10%10, '0' + at%10})+".out", second))
		}
		total := len(first) + len(second)
		golden.Bounded(t, 8*total, func() {
			s, err := outputs.Open(fs, small)
			require.NoError(t, err)
			read := func() uint64 {
				n := uint64(0)
				for from := s.Oldest(); from < s.Next(); {
					outs, err := s.Read(from, 10)
					if err != nil {
						var d *outputs.DamagedError
						require.ErrorAs(t, err, &d)
						require.GreaterOrEqual(t, d.To, from, "a reader gets on")
						from = d.To + 1
						continue
					}
					require.NotEmpty(t, outs)
					for _, o := range outs {
						require.Equal(t, from, o.Number)
						from++
						n++
					}
				}
				return n
			}
			n := read()
			require.NoError(t, s.Append([]chain.Output{{Number: s.Next(), Payload: []byte("next")}}))
			require.Equal(t, n+1, read())
			require.NoError(t, s.Close())
		})
	})
}
