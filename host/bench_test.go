package host_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// What a promotion does for each event of the journal: process it again and
// compare the link at the end of each entry.
func BenchmarkReplay(b *testing.B) {
	f := testkit.Founding(3)
	fresh := func() *host.Host {
		h, err := host.New(echo{}, f, testkit.Keys("a").Log, host.ConfigFrom(f.Settings))
		require.NoError(b, err)
		return h
	}
	const events = 1 << 14
	h := fresh()
	want := make([]chain.Hash, events) // of each entry's last step
	payload := make([]byte, 128)
	for i := range want {
		st, err := h.Deliver(chain.Event{Producer: "p", Sequence: uint64(i + 1), Payload: payload})
		require.NoError(b, err)
		if want[i] = st.Hash; i%128 == 127 {
			_, want[i] = h.Root()
		}
	}
	h = fresh()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		i := n % events
		if n > 0 && i == 0 {
			b.StopTimer()
			h = fresh()
			b.StartTimer()
		}
		flags := chain.Flags(0)
		if i%128 == 127 {
			flags = chain.Rooted
		}
		if _, err := h.Replay(chain.Event{Producer: "p", Sequence: uint64(i + 1), Payload: payload}, flags, "", want[i]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
