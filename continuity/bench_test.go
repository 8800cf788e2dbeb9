package continuity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
)

// A proof over 100,000 links and three takeovers.
func BenchmarkProof(b *testing.B) {
	m := newMemory().handoff("a").steps(25_000).handoff("b").steps(25_000).handoff("c").steps(25_000).handoff("a").steps(25_000)
	held, note := m.held(10_000), m.treeHead("a")
	var bundle []byte
	b.Run("prove", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if bundle, err = continuity.Prove(m, m.f, held.Size, note, m.changes); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(bundle)), "B/proof")
	})
	b.Run("verify", func(b *testing.B) {
		bundle, err := continuity.Prove(m, m.f, held.Size, note, m.changes)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := continuity.Verify(bundle, held, m.f); err != nil {
				b.Fatal(err)
			}
		}
	})
}
