package drill

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
)

// putsOut is a member's API that has some outputs and no more.
func putsOut(t *testing.T, outs ...chain.Output) string {
	ended := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/outputs" {
			json.NewEncoder(w).Encode(map[string]any{"last": 0, "known": true})
			return
		}
		for i := range outs {
			json.NewEncoder(w).Encode(&outs[i])
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(ended) })
	return s.URL
}

// Outputs that a member does not have are lost, and not a drill that failed.
func TestMissingOutputsAreLost(t *testing.T) {
	want := []chain.Output{{Number: 1, Seq: 4, Term: 2, Payload: []byte("x")}, {Number: 2, Seq: 5, Term: 2, Payload: []byte("y")}, {Number: 3, Seq: 6, Term: 2, Payload: []byte("z")}}
	m := &member{name: "b", client: asks(t, putsOut(t, want[0]))}
	d := &drill{cfg: &Config{Patience: 500 * time.Millisecond}}
	var v Verdict
	require.NoError(t, d.compareOutputs(t.Context(), &v, m, want))
	require.Equal(t, uint64(2), v.Lost)
	require.Contains(t, v.Findings[0], "b")

	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.compareOutputs(stopped, &v, m, want), context.Canceled, "an interrupted drill has found nothing")
}

func TestMissingOutputOfAGroupInUseIsLost(t *testing.T) {
	cfg := &LiveConfig{Patience: 500 * time.Millisecond}
	load := &trickle{name: "p", cfg: cfg, outputs: []chain.Output{{Number: 7, Seq: 4, Term: 2, Payload: []byte("x")}}}
	load.moved = sync.NewCond(&load.mu)
	l := &live{cfg: cfg, load: load, ask: asks(t, putsOut(t))}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var r Round
	within(t, func() { require.NoError(t, l.compare(ctx, &r)) })
	require.Equal(t, uint64(1), r.Lost)
	require.Contains(t, r.Findings[0], "output 7")
}

// A sync of which nobody knows whether it happened is none: damage is healed by
// one that did.
func TestSyncIsKnownToHaveHappened(t *testing.T) {
	ended := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(api.Close)
	t.Cleanup(func() { close(ended) })
	g := &group{client: asks(t, api.URL), patience: 300 * time.Millisecond}
	require.ErrorContains(t, g.sync(t.Context(), "a sync"), "a sync: not within 300ms")
}
