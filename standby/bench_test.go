package standby

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
)

func newKV() host.Daemon { return kv.New() }

// benchCluster is a group in memory in real time, without checkpoints of its own accord.
func benchCluster(b *testing.B, n int) *Group {
	c := newCluster(b, n, newKV, func(cfg *Config) {
		cfg.Heartbeat, cfg.Election, cfg.Lease = 2*time.Second, 2*time.Second, 2*time.Second // a machine that is busy must not end the run
		cfg.SyncInterval = time.Hour
		cfg.MaxJournalSteps, cfg.MaxJournalBytes = 1<<30, 1<<30
	})
	return c.active()
}

// put makes batches of events of 128 bytes for one producer.
func put(producer string, from uint64, n int) []Event {
	evs := make([]Event, n)
	for i := range evs {
		seq := from + uint64(i)
		evs[i] = Event{Producer: producer, Sequence: seq, Payload: fmt.Appendf(nil, "put k%03d %0118d", seq%1000, seq)}
	}
	return evs
}

// From Deliver to the receipt, with stores and network in memory: what is left
// is the active loop, Raft, the state machine of every member and the archive.
func BenchmarkDeliver(b *testing.B) {
	for _, bm := range []struct{ members, callers, batch int }{{1, 1, 1}, {1, 256, 1}, {3, 1, 1}, {3, 256, 1}, {3, 16, 128}} {
		b.Run(fmt.Sprintf("members=%d/callers=%d/batch=%d", bm.members, bm.callers, bm.batch), func(b *testing.B) {
			g := benchCluster(b, bm.members)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range bm.callers {
				wg.Go(func() {
					producer := fmt.Sprintf("p%d", c)
					for next := uint64(1); left.Add(-1) >= 0; next += uint64(bm.batch) {
						for _, r := range g.DeliverBatch(context.Background(), put(producer, next, bm.batch)) {
							if r.Err != nil {
								b.Error(r.Err)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N*bm.batch)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// journal delivers n events to a group of one.
func journal(b *testing.B, n int) *Group {
	g := benchCluster(b, 1)
	for from := 1; from <= n; from += 1024 {
		for _, r := range g.DeliverBatch(b.Context(), put("p", uint64(from), 1024)) {
			require.NoError(b, r.Err)
		}
	}
	return g
}

// What a promotion replays from the journal, with every entry's last link compared.
func BenchmarkReplay(b *testing.B) {
	const events = 1 << 15
	n := journal(b, events).node.Load()
	b.ReportAllocs()
	for b.Loop() {
		h, err := host.New(newKV(), n.g.cfg.Founding, n.g.cfg.Keys.Log, n.g.hostConfig())
		require.NoError(b, err)
		done, err := n.replay(b.Context(), h, 0)
		require.NoError(b, err)
		require.Equal(b, uint64(events), done)
	}
	b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
}

// A sync on demand of a group of three with a state of 16 MiB in which one key
// has changed: captured, chunked, sealed, fetched, restored and reported.
func BenchmarkSync(b *testing.B) {
	g := benchCluster(b, 3)
	value := make([]byte, 4096)
	for i := range value {
		value[i] = 'v'
	}
	seq := uint64(0)
	set := func(key int) {
		seq++
		_, err := g.Deliver(b.Context(), Event{Producer: "p", Sequence: seq, Payload: fmt.Appendf(nil, "put key%04d %s", key, value)})
		require.NoError(b, err)
	}
	for k := range 4096 {
		set(k)
	}
	var size uint64
	b.ReportAllocs()
	for b.Loop() {
		set(int(seq % 4096))
		r, err := g.Sync(b.Context())
		require.NoError(b, err)
		size = r.Bytes
	}
	b.SetBytes(int64(size))
}
