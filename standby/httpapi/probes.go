package httpapi

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/understudy-ha/understudy/standby"
)

// probe answers GET, HEAD and OPTIONS alike: load balancers use all three.
// Probes tell no more than yes or no and why, so they need no token.
func (a *api) probe(check func(*standby.Status) (bool, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
		default:
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var ok bool
		var why string
		select {
		case <-a.cfg.Group.Done():
			why = "this member has stopped"
		default:
			st := a.cfg.Group.Status()
			ok, why = check(&st)
		}
		status := http.StatusOK
		if !ok {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(why)+1))
		w.WriteHeader(status)
		fmt.Fprintln(w, why)
	}
}

// live: the process works. Restarting it is no remedy for anything else.
func (a *api) live(st *standby.Status) (bool, string) {
	return true, "alive: " + string(st.Role)
}

// ready: this member takes part and calls to it get where they should. A
// standby is ready, so that a rolling restart does not wait for leadership.
func (a *api) ready(st *standby.Status) (bool, string) {
	switch {
	case st.Role == standby.RoleFailed:
		return false, "this member has failed: " + oneLine(st.Reason)
	case st.Role == standby.RoleJoining:
		return false, "this member is catching up with the group"
	case st.Active == "":
		return false, "no active is known"
	}
	return true, fmt.Sprintf("ready: %s, the active is %s", st.Role, st.Active)
}

// serving: this member is the one for writes.
func (a *api) serving(st *standby.Status) (bool, string) {
	if st.Role != standby.RoleActive {
		return false, "this member is " + string(st.Role)
	}
	return true, "active in term " + strconv.FormatUint(st.Term, 10)
}

// standingBy: this member is one for stale reads.
func (a *api) standingBy(st *standby.Status) (bool, string) {
	if st.Role != standby.RoleStandby {
		return false, "this member is " + string(st.Role)
	}
	return true, "standby at seq " + strconv.FormatUint(st.Seq, 10)
}

func oneLine(s string) string {
	for i, r := range s {
		if r < ' ' {
			return s[:i]
		}
	}
	return s
}
