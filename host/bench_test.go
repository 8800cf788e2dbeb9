package host_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// What a promotion has the daemon do again for each event of the journal.
func BenchmarkFollow(b *testing.B) {
	f := testkit.Founding(3)
	h, err := host.New(echo{}, f, testkit.Keys("a").Log, host.ConfigFrom(f.Settings))
	require.NoError(b, err)
	payload := make([]byte, 128)
	outs, err := echo{}.Process(chain.Event{Payload: payload})
	require.NoError(b, err)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if err := h.Follow(chain.Event{Producer: "p", Sequence: uint64(n), Payload: payload}, 0, outs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
