package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/bench"
)

// What a long history costs: throughput, latency, memory, room on the disk and
// restarts, at ten times as many events each time. The state stays the same
// size. It is said and not judged.
//
//	UNDERSTUDY_HISTORY_EVENTS=10000000    how far (not at all)
func TestLongHistory(t *testing.T) {
	most := number(t, "UNDERSTUDY_HISTORY_EVENTS", 1)
	if most < 10_000 {
		t.Skip("it takes minutes: UNDERSTUDY_HISTORY_EVENTS=10000000")
	}
	s := newStage(t, plan{daemon: "kv", lasts: 2 * time.Hour, flags: []string{"--profile", "lan"}})
	var urls []string
	for _, m := range s.members {
		urls = append(urls, strings.TrimPrefix(m.url, "http://"))
	}
	measure := func(d time.Duration) (r bench.Result) {
		out, code := s.command(s.dir, "bench", "--group", strings.Join(urls, ","), "--batch", "128", "--concurrency", "16",
			"--warm", "200ms", "--time", d.String(), "-o", "json")
		require.Zero(t, code, out)
		var rep bench.Report
		_, result, _ := strings.Cut(out, "{") // after what it says of its progress
		require.NoError(t, json.Unmarshal([]byte("{"+result), &rep), out)
		return rep.Results[0]
	}
	events := func() int { _, st := s.active(); return int(st.Seq) }
	say("%10s %12s %9s %9s %9s %11s %11s", "events", "events/s", "p50 ms", "p99 ms", "RSS MiB", "B/event", "restart ms")
	for want := 10_000; want <= most; want *= 10 {
		for rate := 10_000.0; events() < want; {
			rate = measure(min(time.Minute, time.Duration(float64(want-events())/rate*float64(time.Second))+100*time.Millisecond)).EventsPerS
		}
		var turns []bench.Result
		for range 5 {
			turns = append(turns, measure(3*time.Second))
		}
		median := func(of func(bench.Result) float64) float64 {
			var all []float64
			for _, r := range turns {
				all = append(all, of(r))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		a, _ := s.active()
		rss, n := a.usage()[0], events()
		m := s.standby()
		_, room, err := m.room()
		require.NoError(t, err)
		s.kill(m)
		began := time.Now()
		s.start(m)
		s.await("waiting for "+m.name+" to be where the group is", func(ctx context.Context) error {
			st, err := m.client.Status(ctx)
			if err == nil && int(st.Seq) < n {
				err = fmt.Errorf("it is at %d, the group at %d", st.Seq, n)
			}
			return err
		})
		restart := time.Since(began)
		s.healthy()
		say("%10d %12.0f %9.1f %9.1f %9d %11.0f %11.0f", n, median(func(r bench.Result) float64 { return r.EventsPerS }),
			median(func(r bench.Result) float64 { return r.P50 })/1000, median(func(r bench.Result) float64 { return r.P99 })/1000, rss, float64(room)/float64(n), float64(restart.Microseconds())/1000)
	}
}
