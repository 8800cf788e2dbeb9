package httpapi_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

var tokens = map[string]httpapi.Role{
	"reader-0123456789": httpapi.Read, "deliverer-0123456789": httpapi.Deliver,
	"operator-0123456789": httpapi.Operate, "auditor-0123456789": httpapi.Audit,
	"both-0123456789abc": httpapi.Read | httpapi.Deliver,
}

// Each call is open to the roles that the contract names and shut to all
// others, here and through another member. Nothing that is refused happens.
func TestRoles(t *testing.T) {
	g := newGroup(t, httpapi.Config{Tokens: tokens})
	for _, r := range routes {
		for tok, role := range tokens {
			may := false
			for _, name := range strings.Split(role.String(), ",") {
				may = may || strings.Contains(r.roles, name)
			}
			if may && strings.HasPrefix(r.path, "/v1/events") {
				continue // has an effect: elsewhere
			}
			for _, member := range []string{"a", "b"} {
				res := g.call(member, r.method, r.path, r.body, token(tok))
				if may {
					require.Equal(t, http.StatusOK, res.status, "%s as %v: %s", r.path, role, res.body)
					continue
				}
				require.Equal(t, http.StatusForbidden, res.status, "%s as %v", r.path, role)
				p := res.problem(t)
				require.Equal(t, wire.Unauthorized, p.Code)
				require.True(t, p.Forbidden)
				require.Empty(t, res.header.Get("WWW-Authenticate"))
			}
		}
		for _, bad := range []string{"", "Bearer", "Bearer ", "Bearer x", "Bearer reader-012345678", "Bearer reader-01234567890", "Basic reader-0123456789", "reader-0123456789"} {
			res := g.call("a", r.method, r.path, r.body, func(r *http.Request) {
				if bad != "" {
					r.Header.Set("Authorization", bad)
				}
			})
			require.Equal(t, http.StatusUnauthorized, res.status, "%s with %q", r.path, bad)
			require.Equal(t, "Bearer", res.header.Get("WWW-Authenticate"))
			require.False(t, res.problem(t).Forbidden)
		}
	}
	require.Empty(t, g.all.applied)
	require.Equal(t, http.StatusOK, g.call("b", "POST", "/v1/events", `{"payload":"x"}`, token("both-0123456789abc")).status)
	require.Equal(t, []string{"x"}, g.all.applied)
}

// A caller cannot give itself a role by the header that members use.
func TestRoleHeaderIsForMembersOnly(t *testing.T) {
	g := newGroup(t, httpapi.Config{Tokens: tokens})
	operate := func(r *http.Request) { r.Header.Set(wire.HeaderRole, "operate") }
	require.Equal(t, http.StatusUnauthorized, g.call("a", "POST", "/v1/sync", "", operate).status)
	require.Equal(t, http.StatusForbidden, g.call("b", "POST", "/v1/sync", "", operate, token("reader-0123456789")).status)

	// Nor does a member's handler take a call without one.
	g.urls["a"] = "http://" + g.peers["a"]
	require.Equal(t, http.StatusUnauthorized, g.call("a", "POST", "/v1/sync", "").status)
	require.Equal(t, http.StatusUnauthorized, g.call("a", "POST", "/v1/sync", "", func(r *http.Request) { r.Header.Set(wire.HeaderRole, "root") }).status)
	require.Equal(t, http.StatusOK, g.call("a", "POST", "/v1/sync", "", operate).status)
}

// Who has no token, no certificate and does not come from this machine gets
// nothing but the probes.
func TestFromElsewhere(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	status := func(cfg httpapi.Config, remote, host, path string) int {
		cfg.Group = g.members["a"]
		h, err := httpapi.New(cfg)
		require.NoError(t, err)
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr, r.Host = remote, host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	const here, there = "127.0.0.1:5", "192.0.2.1:5"
	for _, host := range []string{"127.0.0.1:7700", "localhost:7700", "localhost", "[::1]:7700", "LOCALHOST:1"} {
		require.Equal(t, 200, status(httpapi.Config{}, here, host, "/v1/status"), host)
	}
	require.Equal(t, 200, status(httpapi.Config{}, "[::1]:5", "[::1]:7700", "/v1/status"))
	require.Equal(t, 401, status(httpapi.Config{}, here, "evil.example", "/v1/status"), "a name that points here")
	require.Equal(t, 403, status(httpapi.Config{}, there, "127.0.0.1:7700", "/v1/status"))
	require.Equal(t, 403, status(httpapi.Config{Tokens: tokens}, there, "a:7700", "/v1/status"), "plain text with tokens")
	require.Equal(t, 200, status(httpapi.Config{Insecure: true}, there, "a:7700", "/v1/status"))
	require.Equal(t, 401, status(httpapi.Config{Insecure: true, Tokens: tokens}, there, "a:7700", "/v1/status"))
	for _, probe := range []string{"/livez", "/readyz", "/active", "/any", "/health"} {
		require.Equal(t, 200, status(httpapi.Config{Tokens: tokens}, there, "a:7700", probe))
	}
}

// A web page of elsewhere cannot have a browser on this machine act.
func TestCrossOriginIsRefused(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	res := g.call("a", "POST", "/v1/events", `{"payload":"x"}`, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	require.Equal(t, http.StatusForbidden, res.status)
	require.Equal(t, wire.Unauthorized, res.problem(t).Code)
	require.Empty(t, g.all.applied)
}

func TestTokensThatAreUnsafe(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, bad := range []map[string]httpapi.Role{{"short": httpapi.Read}, {"": httpapi.Read}, {"long-enough-0123456789": 0}, {"long-enough-0123456789": 128}} {
		_, err := httpapi.New(httpapi.Config{Group: g.members["a"], Tokens: bad})
		require.Error(t, err)
		for tok := range bad {
			if tok != "" {
				require.NotContains(t, err.Error(), tok)
			}
		}
	}
}

// No token gets into a log, an answer or a metric.
func TestTokensAreNeverTold(t *testing.T) {
	var log bytes.Buffer
	g := newGroup(t, httpapi.Config{Tokens: tokens, Logger: slog.New(slog.NewTextHandler(io.Writer(&log), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	var answers []byte
	for _, tok := range []string{"reader-0123456789", "operator-0123456789", "unknown-0123456789"} {
		for _, r := range routes {
			if r.method == "POST" && tok == "operator-0123456789" {
				continue
			}
			res := g.call("a", r.method, r.path, r.body, token(tok))
			answers = append(answers, res.body...)
			for k, vs := range res.header {
				answers = append(answers, k+strings.Join(vs, " ")...)
			}
		}
	}
	require.NotEmpty(t, log.String(), "refusals are logged")
	for _, b := range []string{log.String(), string(answers)} {
		for _, secret := range []string{"reader-0123", "operator-0123", "unknown-0123"} {
			require.NotContains(t, b, secret)
		}
	}
}

func TestParseRole(t *testing.T) {
	r, err := httpapi.ParseRole("read, deliver")
	require.NoError(t, err)
	require.Equal(t, httpapi.Read|httpapi.Deliver, r)
	require.Equal(t, "read,deliver", r.String())
	for _, bad := range []string{"", "admin", "read,", "Read", "read deliver"} {
		_, err := httpapi.ParseRole(bad)
		require.Error(t, err, bad)
	}
}
