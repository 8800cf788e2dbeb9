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
