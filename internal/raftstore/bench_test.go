package raftstore_test

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// Both stores with all wrappers on: run with -count and compare medians of one run.
func BenchmarkStoreLogs(b *testing.B) {
	for _, size := range []int{128, 64 << 10} {
		for _, n := range []int{1, 16, 64} {
			for _, k := range kinds {
				b.Run(fmt.Sprintf("%dx%d/%s", n, size, k), func(b *testing.B) {
					s, err := raftstore.Open(b.TempDir(), raftstore.Options{Store: k})
					require.NoError(b, err)
					b.SetBytes(int64(n * size))
					next, data := uint64(1), make([]byte, size)
					for b.Loop() {
						logs := make([]*raft.Log, n)
						for i := range logs {
							logs[i] = &raft.Log{Index: next, Term: 1, Data: data}
							next++
						}
						require.NoError(b, s.Log.StoreLogs(logs))
						if next%10_240 < uint64(n) && next > 20_480 {
							require.NoError(b, s.Log.DeleteRange(0, next-10_240))
						}
					}
					require.NoError(b, s.Close())
				})
			}
		}
	}
}

func BenchmarkVote(b *testing.B) {
	for _, k := range kinds {
		b.Run(string(k), func(b *testing.B) {
			s, err := raftstore.Open(b.TempDir(), raftstore.Options{Store: k})
			require.NoError(b, err)
			for term := uint64(1); b.Loop(); term++ {
				require.NoError(b, s.Stable.SetUint64([]byte("LastVoteTerm"), term))
				require.NoError(b, s.Stable.Set([]byte("LastVoteCand"), []byte("a")))
			}
			require.NoError(b, s.Close())
		})
	}
}
