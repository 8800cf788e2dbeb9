package httpapi_test

import (
	"bufio"
	"bytes"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// The probes in each role, by every method that load balancers use, without a
// token.
func TestProbes(t *testing.T) {
	const ok, no = 200, 503
	for _, c := range []struct {
		role                                                  standby.Role
		active                                                string
		livez, readyz, serving, standing, reading, healthcode int
	}{
		{standby.RoleActive, "a", ok, ok, ok, no, ok, ok},
		{standby.RoleStandby, "b", ok, ok, no, ok, ok, 429},
		{standby.RoleStandby, "", ok, no, no, ok, ok, 429},
		{standby.RoleJoining, "b", ok, no, no, no, no, no},
		{standby.RolePromoting, "", ok, no, no, no, no, no},
		{standby.RoleFailed, "b", ok, no, no, no, no, no},
	} {
		g := newGroup(t, httpapi.Config{Tokens: tokens})
		g.all.change(func() { g.all.active = c.active })
		g.members["a"].role = c.role
		for path, want := range map[string]int{
			"/livez": c.livez, "/readyz": c.readyz, "/active": c.serving, "/primary": c.serving, "/leader": c.serving,
			"/standby": c.standing, "/any": c.reading, "/health": c.healthcode,
			"/health?" + string(c.role) + "code=299": 299,
		} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				res := g.call("a", method, path, "")
				require.Equal(t, want, res.status, "%s %s as %s", method, path, c.role)
				require.Equal(t, want == no, res.header.Get("Retry-After") != "")
				require.Equal(t, method == "HEAD", len(res.body) == 0, "%s %s", method, path)
				require.NotEmpty(t, res.header.Get("Content-Length"))
			}
			for _, method := range []string{"POST", "PUT", "DELETE"} {
				res := g.call("a", method, path, "")
				require.Equal(t, http.StatusMethodNotAllowed, res.status)
				require.Equal(t, "GET, HEAD, OPTIONS", res.header.Get("Allow"))
			}
		}
		close(g.members["a"].stopped)
		for _, path := range []string{"/livez", "/readyz", "/active", "/standby", "/any", "/health"} {
			require.Equal(t, no, g.call("a", "GET", path, "").status, "stopped: %s", path)
		}
	}
}

func TestReadyTellsItsChecks(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	body := func(path string, status int) string {
		res := g.call("b", "GET", path, "")
		require.Equal(t, status, res.status)
		return string(res.body)
	}
	require.Equal(t, "ready: standby, the active is a\n", body("/readyz", 200))
	require.Equal(t, "[+]member ok\n[+]history ok\n[+]active ok\nready: standby, the active is a\n", body("/readyz?verbose", 200))
	g.all.change(func() { g.all.active = "" })
	require.Equal(t, "no active is known\n", body("/readyz", 503))
	require.Equal(t, "[+]member ok\n[+]history ok\n[-]active no active is known\nno active is known\n", body("/readyz?verbose=1", 503))
	require.Contains(t, body("/readyz?exclude=active&verbose", 200), "[+]active excluded\n")
	g.members["b"].role = standby.RoleJoining
	require.Equal(t, 503, g.call("b", "GET", "/readyz?exclude=active", "").status)
	require.Equal(t, 200, g.call("b", "GET", "/readyz?exclude=active,history", "").status)
}

// What the active has and this member has not heard of is missing in its answers too.
func TestLagCountsWhatHasNotArrived(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, c := range []struct {
		active, own uint64
		backlog     int64
		lag         string
		ok          bool
	}{
		{1000, 1000, 0, "0", true},
		{1000, 990, 0, "10", true},
		{1000, 989, 0, "10", false},
		{1000, 995, 5, "10", true},
		{1000, 995, 6, "10", false},
		{990, 1000, 0, "0", true}, // the active was asked a moment ago
	} {
		g.members["b"].tweak = func(st *standby.Status) {
			st.Seq = c.own
			for i := range st.Members {
				switch st.Members[i].Name {
				case st.Member:
					st.Members[i].Seq, st.Members[i].BacklogEvents = c.own, c.backlog
				case st.Active:
					st.Members[i].Seq = c.active
				}
			}
		}
		for _, path := range []string{"/standby", "/any"} {
			res := g.call("b", "GET", path+"?lag="+c.lag, "")
			require.Equal(t, c.ok, res.status == 200, "%+v: %s", c, res.body)
		}
	}
}

// A standby is asked how old its answers may be.
func TestLag(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	var own, active standby.MemberStatus
	g.members["b"].tweak = func(st *standby.Status) {
		for i := range st.Members {
			switch st.Members[i].Name {
			case st.Member:
				st.Members[i].BacklogEvents, st.Members[i].CheckpointAge = own.BacklogEvents, own.CheckpointAge
			case st.Active:
				st.Members[i].ContactMillis = active.ContactMillis
			}
		}
	}
	for _, c := range []struct {
		backlog, age, contact int64
		lag                   string
		ok                    bool
	}{
		{10, 900, 50, "", true},
		{10, 900, 50, "10", true},
		{10, 900, 50, "9ev", false},
		{10, 900, 50, "1s", true},
		{10, 900, 50, "800ms", false},
		{0, 900, 50, "100ms", true}, // it has everything: the checkpoint's age does not count
		{0, 900, 50, "0", true},
		{0, 900, 5000, "2s", false}, // it has not heard of what came since
		{10, 100, 5000, "2s", false},
		{-1, 900, 50, "100", false},
		{0, 900, -1, "1h", false},
		{10, -1, 50, "1h", false}, // no checkpoint, or one that is not known any more: its state may be of any age
		{10, -1, 50, "10", true},
		{0, -1, 50, "1s", true},
	} {
		own.BacklogEvents, own.CheckpointAge, active.ContactMillis = c.backlog, c.age, c.contact
		for _, path := range []string{"/standby", "/any"} {
			res := g.call("b", "GET", path+"?lag="+c.lag, "")
			require.Equal(t, c.ok, res.status == 200, "%+v: %s", c, res.body)
		}
	}
	require.Equal(t, 200, g.call("a", "GET", "/any?lag=0", "").status, "the active is never late")
	g.all.change(func() { g.all.active = "" })
	require.Equal(t, 503, g.call("b", "GET", "/standby?lag=1000000", "").status, "nobody can tell")
}

func TestBadProbes(t *testing.T) {
	g := newGroup(t, httpapi.Config{})
	for _, path := range []string{"/livez?x", "/active?lag=1", "/standby?lag=-1", "/standby?lag=-1s", "/any?lag=x", "/readyz?exclude=nothing",
		"/readyz?verbose=maybe", "/health?activecode=199", "/health?activecode=600", "/health?activecode=ok", "/health?code=200"} {
		for _, member := range []string{"a", "b"} {
			res := g.call(member, "GET", path, "")
			require.Equal(t, http.StatusBadRequest, res.status, path)
			require.Equal(t, wire.BadRequest, res.problem(t).Code)
		}
	}
	require.Equal(t, http.StatusNoContent, g.call("a", "GET", "/health?activecode=204", "").status)
}

var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) ([a-z_][a-z0-9_]*) (.+)$`)
	sample  = regexp.MustCompile(`^([a-z_][a-z0-9_]*)(?:\{([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"\})? (\S+)$`)
)

// The metrics are the Prometheus text format: each family has its help, its
// type and samples of its own, in one place, each but once.
func TestMetricsParse(t *testing.T) {
	g := newGroup(t, httpapi.Config{Tokens: tokens})
	g.members["b"].tweak = func(st *standby.Status) {
		st.Members[0].Name = "we\"ird\\ \n"
		st.Members[1].BacklogEvents = -1
	}
	g.call("b", "POST", "/v1/events", `{"payload":"x"}`, token("operator-0123456789"))
	g.call("b", "POST", "/v1/events", `{"payload":"x"}`, token("reader-0123456789"))
	res := g.call("b", "GET", "/metrics", "", token("auditor-0123456789"))
	require.Equal(t, http.StatusOK, res.status)
	require.True(t, strings.HasPrefix(res.header.Get("Content-Type"), "text/plain; version=0.0.4"))
	require.NotContains(t, string(res.body), "0123456789", "a token")
	values := make(map[string]float64)
	done := make(map[string]bool)
	var family, kind string
	for sc := bufio.NewScanner(bytes.NewReader(res.body)); sc.Scan(); {
		if m := comment.FindStringSubmatch(sc.Text()); m != nil {
			if m[1] == "HELP" {
				require.False(t, done[m[2]], "family %s comes twice", m[2])
				family, kind = m[2], ""
				done[family] = true
				continue
			}
			require.Equal(t, family, m[2])
			kind = m[3]
			require.Contains(t, []string{"gauge", "counter"}, kind)
			require.Equal(t, kind == "counter", strings.HasSuffix(family, "_total"))
			continue
		}
		m := sample.FindStringSubmatch(sc.Text())
		require.NotNil(t, m, "%q", sc.Text())
		require.Equal(t, family, m[1])
		require.NotEmpty(t, kind)
		v, err := strconv.ParseFloat(m[4], 64)
		require.NoError(t, err)
		name := m[1] + "{" + m[3] + "}"
		require.NotContains(t, values, name)
		values[name] = v
	}
	require.True(t, bytes.HasSuffix(res.body, []byte("\n")))
	require.EqualValues(t, 0, values["understudy_active{}"])
	require.EqualValues(t, 7, values["understudy_term{}"])
	require.EqualValues(t, 1, values["understudy_role{standby}"])
	require.EqualValues(t, 1, values["understudy_api_events_total{committed}"])
	require.EqualValues(t, 1, values["understudy_api_problems_total{unauthorized}"])
	require.Contains(t, values, `understudy_member_backlog_events{we\"ird\\ \n}`)
	require.NotContains(t, values, "understudy_member_backlog_events{b}", "unknown is left out")
}
