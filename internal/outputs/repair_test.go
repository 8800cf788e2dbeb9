package outputs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

// A store goes on at any number, whichever of its files is damaged. What is whole
// stays readable, the damaged file stays as it is.
func TestResume(t *testing.T) {
	for _, next := range []uint64{300, 299, 100, 65, 2, 1, 400} {
		for damaged := range 4 { // 3: none
			fs := durable.NewMem().Sub("o")
			s, err := outputs.Open(fs, small)
			require.NoError(t, err)
			fill(t, s, 300)
			names, err := fs.List(".")
			require.NoError(t, err)
			require.Greater(t, len(names), 2)
			at := []int{0, len(names) / 2, len(names) - 1, -1}[damaged]
			var before []byte
			if at >= 0 {
				f, err := fs.Open(names[at], false)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte{0xff}, 100)
				require.NoError(t, err)
				before, err = fs.ReadFile(names[at], 1<<20)
				require.NoError(t, err)
			}
			s, err = outputs.Open(fs, small)
			require.NoError(t, err)
			_, err = s.Resume(next)
			require.NoError(t, err)
			require.Equal(t, next, s.Next())
			require.NoError(t, s.Append(some(next, next+9)))
			for range 2 {
				read := map[uint64]bool{}
				for from := s.Oldest(); from < s.Next(); {
					outs, err := s.Read(from, 10)
					var d *outputs.DamagedError
					if err != nil {
						require.ErrorAs(t, err, &d)
						require.Greater(t, next, d.To, "what follows is whole")
						if at >= 0 && next > 3 {
							after, err := fs.ReadFile(names[at], 1<<20)
							if err == nil { // else all of it is after the number
								require.Equal(t, before, after)
							}
						}
						from = d.To + 1
						continue
					}
					require.Equal(t, some(from, outs[len(outs)-1].Number+1), outs)
					for _, o := range outs {
						read[o.Number] = true
					}
					from = outs[len(outs)-1].Number + 1
				}
				for n := next; n < next+9; n++ {
					require.True(t, read[n])
				}
				if at < 0 && next <= 300 {
					require.Len(t, read, int(next)+8)
				}
				s, err = outputs.Open(fs, small)
				require.NoError(t, err)
			}
		}
	}
}
