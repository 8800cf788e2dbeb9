package raftstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// sideBySide does the same to both stores in turn, with all wrappers on, and
// reports the median of each and their ratio: on a shared disk only that holds.
func sideBySide(b *testing.B, do func(s *raftstore.Stores)) {
	var stores []*raftstore.Stores
	for _, k := range kinds {
		s, err := raftstore.Open(b.TempDir(), raftstore.Options{Store: k})
		require.NoError(b, err)
		defer s.Close()
		stores = append(stores, s)
	}
	took := make([][]time.Duration, len(kinds))
	for b.Loop() {
		for i, s := range stores {
			start := time.Now()
			do(s)
			took[i] = append(took[i], time.Since(start))
		}
	}
	var median []float64
	for i, k := range kinds {
		slices.Sort(took[i])
		m := float64(took[i][len(took[i])/2].Microseconds())
		b.ReportMetric(m, string(k)+"-µs")
		median = append(median, m)
	}
	b.ReportMetric(median[0]/median[1], "times")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkStoreLogs(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 64 << 10} {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%dx%d", n, size), func(b *testing.B) {
				data := make([]byte, size)
				sideBySide(b, func(s *raftstore.Stores) {
					last, _ := s.Log.LastIndex()
					logs := make([]*raft.Log, n)
					for i := range logs {
						logs[i] = &raft.Log{Index: last + 1 + uint64(i), Term: 1, Data: data}
					}
					require.NoError(b, s.Log.StoreLogs(logs))
				})
			})
		}
	}
}

func BenchmarkVote(b *testing.B) {
	sideBySide(b, func(s *raftstore.Stores) {
		require.NoError(b, s.Stable.SetUint64([]byte("LastVoteTerm"), 1))
		require.NoError(b, s.Stable.Set([]byte("LastVoteCand"), []byte("a")))
	})
}

// Compaction of 10,000 entries of 4 KiB, as after a snapshot.
func BenchmarkCompaction(b *testing.B) {
	sideBySide(b, func(s *raftstore.Stores) {
		last, _ := s.Log.LastIndex()
		data := make([]byte, 4<<10)
		for range 10 {
			var logs []*raft.Log
			for range 1000 {
				last++
				logs = append(logs, &raft.Log{Index: last, Term: 1, Data: data})
			}
			require.NoError(b, s.Log.StoreLogs(logs))
		}
		require.NoError(b, s.Log.DeleteRange(0, last-10))
	})
}
