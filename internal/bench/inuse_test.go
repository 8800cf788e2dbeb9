package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// A group in use is measured whole or not at all, and not with events that its
// daemon would reject.
func TestCheckGroup(t *testing.T) {
	st := standby.Status{Daemon: "kv", Members: make([]standby.MemberStatus, 3)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(&st) }))
	defer s.Close()
	all := client.Config{Members: []string{s.URL, s.URL + "/b", s.URL + "/c"}}
	require.NoError(t, CheckGroup(t.Context(), all))
	err := CheckGroup(t.Context(), client.Config{Members: all.Members[:1]})
	require.ErrorIs(t, err, standby.ErrRefused)
	require.ErrorContains(t, err, "3 members")
	st.Daemon = "ledger"
	err = CheckGroup(t.Context(), all)
	require.ErrorIs(t, err, standby.ErrRefused)
	require.ErrorContains(t, err, "ledger")
}

// What a group in use has of its own is not varied.
func TestGroupInUseIsMeasuredOnce(t *testing.T) {
	a := Axes{Paths: []Path{Client}, Payloads: []int{128}, Concurrency: []int{64}, Batches: []int{1}, Members: []int{3}, Stores: []standby.RaftStore{standby.RaftStoreFile}}
	cases, err := a.Sweep()
	require.NoError(t, err)
	cfg := Config{Cases: cases, Runs: 1, Measure: time.Second, Group: client.Config{Members: []string{"http://h:1", "http://i:1"}}}
	require.NoError(t, cfg.Check())
	require.Len(t, cfg.inUse(), len(cases)-2, "three sizes of a group are one")
	require.Equal(t, 2, cfg.inUse()[0].Members)
	cfg.Floors = []string{Packed}
	require.ErrorContains(t, cfg.Check(), "floor")
}
