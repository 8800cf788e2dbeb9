package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/tune"
)

// A configured timing that does not fit what was measured ends with 10.
func TestTuneJudges(t *testing.T) {
	slow := tune.SpreadOf([]time.Duration{40 * time.Millisecond})
	fast, lan := config.Profiles()[0].Timing, config.Profiles()[1].Timing
	out := tuned{Dir: "data", measured: tune.Measured{Fsync: slow, RoundTrip: slow}}
	require.NoError(t, out.judge(nil))
	require.NoError(t, out.judge(&lan))
	require.Equal(t, "lan", out.Profile)
	require.ErrorIs(t, out.judge(&fast), silent(10))
	require.Len(t, out.TooTight, 2)
	var b strings.Builder
	require.NoError(t, out.table(&b))
	require.Contains(t, b.String(), "durable write in data  1      40.00 ms")
	require.Contains(t, b.String(), "  profile: lan\n  stall_timeout: 2s\n  # lan-fast: a heartbeat of 250ms needs round trips up to 25ms")
	require.Contains(t, b.String(), "the configured timing is too tight: heartbeat 250ms")
}

// A proposal says what it does not know, and a group of one is no failure.
func TestTuneSaysWhoIsSilent(t *testing.T) {
	t.Setenv("UNDERSTUDY_CONFIG", "")
	status := `{"member":"a","members":[{"name":"a"},{"name":"b","state":"warm","round_trip_ms":1}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, status) }))
	defer s.Close()
	silent := "http://" + nobody(t)
	tune := func(args ...string) string {
		var out, errs bytes.Buffer
		args = append([]string{"tune", "--for", "1s", "--writes", "10", "--dir", t.TempDir(), "--addr", s.URL}, args...)
		require.Zero(t, run(args, nil, &out, &errs), errs.String())
		return out.String()
	}
	require.Contains(t, tune("--addr", silent), "! "+silent+" did not answer: its round trips are not among these")
	status = `{"member":"a","members":[{"name":"a"}]}`
	require.Contains(t, tune(), "proposed for member.yaml")
}
