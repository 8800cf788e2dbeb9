package bench

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What scripts read is there whatever was measured.
func TestJSONFields(t *testing.T) {
	b, err := json.Marshal(Result{})
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(b, &v))
	for _, k := range []string{"name", "payload", "concurrency", "batch", "members", "path", "store", "events_per_s", "p50_us", "p99_us", "cpu_us_per_event", "rss_mb", "floor_events_per_s", "ratio"} {
		require.Contains(t, v, k)
	}
}

func TestMedianOfAnEvenNumberIsTheWorse(t *testing.T) {
	runs := []Result{{EventsPerS: 200, Ratio: 0.5, P50Ratio: 1.5, Failed: 1}, {EventsPerS: 100, Ratio: 0.9, P50Ratio: 1.1, Failed: 1}}
	m := median(runs)
	require.Equal(t, Result{EventsPerS: 100, Ratio: 0.5, P50Ratio: 1.5, Runs: 2, Failed: 2}, m)
	m = median([]Result{{EventsPerS: 3, Ratio: 0.3}, {EventsPerS: 1, Ratio: 0.1}, {EventsPerS: 2, Ratio: 0.2}})
	require.Equal(t, 2.0, m.EventsPerS)
	require.Equal(t, 0.2, m.Ratio)
}
