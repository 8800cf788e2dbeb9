package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// probe is a question that load balancers and supervisors ask. Probes tell no
// more than yes or no and why, so they need no token.
type probe struct {
	params []string
	answer func(st *standby.Status, params map[string]string) (verdict, error)
}

// verdict is a probe's answer: its status and a line or more of text.
type verdict struct {
	status int
	text   string
}

var probes = map[string]probe{
	"/livez":   {nil, live},
	"/readyz":  {[]string{"verbose", "exclude"}, ready},
	"/active":  {[]string{"wait"}, serving},
	"/primary": {[]string{"wait"}, serving},
	"/leader":  {[]string{"wait"}, serving},
	"/standby": {[]string{"lag"}, standingBy},
	"/any":     {[]string{"lag"}, reading},
	"/health":  {[]string{"activecode", "standbycode", "joiningcode", "promotingcode", "failedcode"}, health},
}

// probe answers GET, HEAD and OPTIONS alike: load balancers use all three.
func (a *api) probe(p probe) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			a.fail(w, wire.Problemf(wire.BadMethod, "use GET, HEAD or OPTIONS", "%s takes no %.20q", r.URL.Path, r.Method))
			return
		}
		params, err := params(r, p.params)
		if err != nil {
			a.fail(w, err)
			return
		}
		if err := a.await(r, params["wait"]); err != nil {
			a.fail(w, err)
			return
		}
		st := a.cfg.Group.Status()
		v := verdict{http.StatusServiceUnavailable, "this member has stopped"}
		select {
		case <-a.cfg.Group.Done():
			if r.URL.Path == "/health" {
				st.Role = standby.RoleFailed
				v, err = health(&st, params)
			}
		default:
			v, err = p.answer(&st, params)
		}
		if err != nil {
			a.fail(w, err)
			return
		}
		if v.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(v.status)
		fmt.Fprintln(w, v.text)
	}
}

// maxAwait bounds how long a probe may wait for an active.
const maxAwait = 10 * time.Second

// await waits, if it is asked for, until this member knows an active.
func (a *api) await(r *http.Request, wait string) error {
	if wait == "" {
		return nil
	}
	d, err := time.ParseDuration(wait)
	if err != nil || d < 0 || d > maxAwait {
		return wire.Problemf(wire.BadRequest, fmt.Sprintf("write a duration up to %v, as 500ms", maxAwait), "wait is %.20q", wait)
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	defer cancel()
	a.cfg.Group.AwaitActive(ctx)
	return nil
}

func yes(format string, args ...any) (verdict, error) {
	return verdict{http.StatusOK, fmt.Sprintf(format, args...)}, nil
}

func no(format string, args ...any) (verdict, error) {
	return verdict{http.StatusServiceUnavailable, fmt.Sprintf(format, args...)}, nil
}

// live: the process works. Restarting it is no remedy for anything else.
func live(st *standby.Status, _ map[string]string) (verdict, error) {
	return yes("alive: %s", st.Role)
}

// ready: this member takes part and calls to it get where they should. A
// standby is ready, so that a rolling restart does not wait for leadership.
func ready(st *standby.Status, params map[string]string) (verdict, error) {
	verbose, err := flag(params, "verbose")
	if err != nil {
		return verdict{}, err
	}
	checks := []struct {
		name string
		bad  bool
		why  string
	}{
		{"member", st.Role == standby.RoleFailed, "this member has failed: " + oneLine(st.Reason)},
		{"history", st.Role == standby.RoleJoining, "this member is catching up with the group"},
		{"active", st.Active == "", "no active is known"},
	}
	var exclude []string
	if params["exclude"] != "" {
		exclude = strings.Split(params["exclude"], ",")
	}
	v := verdict{http.StatusOK, fmt.Sprintf("ready: %s, the active is %s", st.Role, st.Active)}
	var lines []string
	for _, c := range checks {
		line := fmt.Sprintf("[+]%s ok", c.name)
		if i := slices.Index(exclude, c.name); i >= 0 {
			exclude = slices.Delete(exclude, i, i+1)
			line = fmt.Sprintf("[+]%s excluded", c.name)
		} else if c.bad {
			line = fmt.Sprintf("[-]%s %s", c.name, c.why)
			if v.status == http.StatusOK {
				v = verdict{http.StatusServiceUnavailable, c.why}
			}
		}
		lines = append(lines, line)
	}
	if len(exclude) > 0 {
		return v, wire.Problemf(wire.BadRequest, "exclude member, history or active, separated by commas", "unknown check %.40q", exclude[0])
	}
	if verbose {
		v.text = strings.Join(append(lines, v.text), "\n")
	}
	return v, nil
}

// serving: this member is the one for writes.
func serving(st *standby.Status, _ map[string]string) (verdict, error) {
	if st.Role != standby.RoleActive {
		return no("this member is %s", st.Role)
	}
	return yes("active in term %d", st.Term)
}

// standingBy: this member is one for stale reads.
func standingBy(st *standby.Status, params map[string]string) (verdict, error) {
	late, err := behind(st, params["lag"])
	switch {
	case err != nil:
		return verdict{}, err
	case st.Role != standby.RoleStandby:
		return no("this member is %s", st.Role)
	case late != "":
		return no("%s", late)
	}
	return yes("standby at seq %d", st.Seq)
}

// reading: this member is one for reads, current or stale.
func reading(st *standby.Status, params map[string]string) (verdict, error) {
	if st.Role == standby.RoleActive {
		if _, err := behind(st, params["lag"]); err != nil {
			return verdict{}, err
		}
		return serving(st, nil)
	}
	return standingBy(st, params)
}

// behind says why a standby's answers are older than the lag that its caller
// accepts: a number of events, or a time.
func behind(st *standby.Status, lag string) (string, error) {
	if lag == "" {
		return "", nil
	}
	events, err := strconv.ParseUint(strings.TrimSuffix(lag, "ev"), 10, 63)
	age, err2 := time.ParseDuration(lag)
	if err != nil && (err2 != nil || age < 0) {
		return "", wire.Problemf(wire.BadRequest, "use a number of events, as 100, or a time, as 2s", "parameter lag is %.40q", lag)
	}
	var own, active standby.MemberStatus
	for _, m := range st.Members {
		if m.Name == st.Member {
			own = m
		}
		if m.Name == st.Active {
			active = m
		}
	}
	switch {
	case active.Name == "" || own.Name == "":
		return "no active is known: nobody can tell how far behind this member is", nil
	case own.BacklogEvents < 0:
		return "this member does not know how far behind it is", nil
	case err == nil: // what it has not applied, and what the active had and has not come here
		if n := uint64(own.BacklogEvents) + max(active.Seq, own.Seq) - own.Seq; n > events {
			return fmt.Sprintf("this member is %d events behind", n), nil
		}
		return "", nil
	}
	behind := active.ContactMillis // nothing newer than that is known of here
	if own.BacklogEvents > 0 {
		if own.CheckpointAge < 0 {
			return "this member does not know how old its state is", nil
		}
		behind = max(behind, own.CheckpointAge)
	}
	if known := time.Duration(behind) * time.Millisecond; active.ContactMillis < 0 || known > age {
		return fmt.Sprintf("this member is up to %v behind", known), nil
	}
	return "", nil
}

// health answers with a status for each role, which the caller may choose.
func health(st *standby.Status, params map[string]string) (verdict, error) {
	codes := map[standby.Role]int{standby.RoleActive: http.StatusOK, standby.RoleStandby: http.StatusTooManyRequests}
	for name, s := range params {
		code, err := strconv.Atoi(s)
		if err != nil || code < 200 || code > 599 {
			return verdict{}, wire.Problemf(wire.BadRequest, "use a status from 200 to 599", "parameter %s is %.40q", name, s)
		}
		codes[standby.Role(strings.TrimSuffix(name, "code"))] = code
	}
	code, ok := codes[st.Role]
	if !ok {
		code = http.StatusServiceUnavailable
	}
	return verdict{code, "this member is " + string(st.Role)}, nil
}

func oneLine(s string) string {
	for i, r := range s {
		if r < ' ' {
			return s[:i]
		}
	}
	return s
}
