package outputs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

func BenchmarkAppend(b *testing.B) {
	s, err := outputs.Open(durable.OS(b.TempDir()), outputs.Retention{Bytes: 1 << 30})
	require.NoError(b, err)
	defer s.Close()
	outs := make([]chain.Output, 128)
	for i := range outs {
		outs[i] = chain.Output{Term: 1, Payload: make([]byte, 64)}
	}
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		for i := range outs {
			n++
			outs[i].Number, outs[i].Seq = n, n
		}
		if err := s.Append(outs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
