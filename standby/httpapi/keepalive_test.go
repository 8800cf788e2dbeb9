package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// patientGroup notes whether its callers were still there when it answered.
type patientGroup struct {
	httpapi.Group
	gone chan error
}

func (g *patientGroup) Status() standby.Status { return standby.Status{Member: "a"} }
func (g *patientGroup) Active() (string, bool) { return "a", true }
func (g *patientGroup) Founding() []byte       { return nil }
func (g *patientGroup) DeliverBatch(ctx context.Context, evs []standby.Event) []standby.Result {
	g.gone <- ctx.Err()
	out := make([]standby.Result, len(evs))
	for i := range out {
		out[i].Receipt = standby.Receipt{Seq: 1, Link: chain.Derive("x")}
	}
	return out
}

// A batch leaves its connection as it found it: the next call's caller is there.
func TestBatchesOneAfterTheOtherOnAConnection(t *testing.T) {
	g := &patientGroup{gone: make(chan error, 1)}
	h, err := httpapi.New(httpapi.Config{Group: g})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	defer srv.Close()
	for range 20 {
		resp, err := srv.Client().Post(srv.URL+"/v1/events", wire.NDJSON, strings.NewReader("{\"payload\":\"x\"}\n{\"payload\":\"y\"}\n"))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, 2, strings.Count(string(body), `"seq":1`), "%s", body)
		require.NoError(t, <-g.gone)
	}
}
