package httpapi

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// counts are what this handler did since the process began.
type counts struct {
	mu       sync.Mutex
	events   map[string]uint64    // by outcome
	problems map[wire.Code]uint64 // answers that were not a success
}

func newCounts() *counts {
	return &counts{events: make(map[string]uint64), problems: make(map[wire.Code]uint64)}
}

func (c *counts) problem(code wire.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems[code]++
}

func (c *counts) result(r *standby.Result) {
	outcome := "committed"
	switch {
	case r.Err != nil:
		outcome = string(wire.ProblemOf(r.Err).Code)
	case r.Receipt.Duplicate:
		outcome = "duplicate"
	case r.Receipt.Rejected:
		outcome = "rejected"
	case r.Receipt.Refused:
		outcome = "refused_by_host"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[outcome]++
}

// metrics writes the Prometheus text format.
func (a *api) metrics(c *call) error {
	if _, err := c.params(); err != nil {
		return err
	}
	st := a.cfg.Group.Status()
	var b bytes.Buffer
	family := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	gauge := func(name, help string, v float64) {
		family(name, "gauge", help)
		fmt.Fprintf(&b, "%s %s\n", name, strconv.FormatFloat(v, 'g', -1, 64))
	}
	is := map[bool]float64{true: 1}
	gauge("understudy_active", "1 if this member is active.", is[st.Role == standby.RoleActive])
	gauge("understudy_active_known", "1 if this member knows an active.", is[st.Active != ""])
	gauge("understudy_term", "Fencing number of the newest link.", float64(st.Term))
	gauge("understudy_seq", "Position of the newest committed link.", float64(st.Seq))
	gauge("understudy_inputs", "Events in the history.", float64(st.Inputs))
	gauge("understudy_outputs", "Outputs in the history.", float64(st.Outputs))
	gauge("understudy_quorum_healthy", "Voters that answer.", float64(st.Quorum.Healthy))
	gauge("understudy_quorum_voters", "Voters of the group.", float64(st.Quorum.Voters))
	gauge("understudy_journal_steps", "Steps kept in memory for replay.", float64(st.JournalSteps))
	gauge("understudy_journal_bytes", "Bytes kept in memory for replay.", float64(st.JournalBytes))
	gauge("understudy_queue_events", "Events that wait on the active.", float64(st.Queue))
	gauge("understudy_api_streams", "Streams that this member serves now.", float64(len(a.streams)))
	family("understudy_role", "gauge", "1 for the role that this member has.")
	for _, r := range []standby.Role{standby.RoleActive, standby.RoleStandby, standby.RoleJoining, standby.RolePromoting, standby.RoleFailed} {
		fmt.Fprintf(&b, "understudy_role{role=%q} %g\n", r, is[st.Role == r])
	}
	counter := func(name, help string, v uint64) {
		family(name, "counter", help)
		fmt.Fprintf(&b, "%s %d\n", name, v)
	}
	counter("understudy_fsyncs_total", "Times that this member waited for its disk: its own files, Raft's log and votes.", st.IO.Syncs)
	counter("understudy_written_bytes_total", "Bytes written to this member's files; the log of the store boltdb is not counted.", st.IO.WrittenBytes)
	counter("understudy_peer_sent_bytes_total", "Bytes sent to the other members, as on the wire.", st.IO.SentBytes)
	counter("understudy_peer_received_bytes_total", "Bytes received from the other members, as on the wire.", st.IO.ReceivedBytes)
	members := func(name, help string, value func(*standby.MemberStatus) (float64, bool)) {
		family(name, "gauge", help)
		for i := range st.Members {
			if v, known := value(&st.Members[i]); known {
				fmt.Fprintf(&b, "%s{member=\"%s\"} %s\n", name, label(st.Members[i].Name), strconv.FormatFloat(v, 'g', -1, 64))
			}
		}
	}
	members("understudy_member_trail_events", "Committed links that the member has not applied.", func(m *standby.MemberStatus) (float64, bool) {
		return float64(m.TrailEvents), m.TrailEvents >= 0
	})
	members("understudy_member_backlog_events", "Events that the member would replay if promoted.", func(m *standby.MemberStatus) (float64, bool) {
		return float64(m.BacklogEvents), m.BacklogEvents >= 0
	})
	members("understudy_member_contact_seconds", "Time since the member last answered this one.", func(m *standby.MemberStatus) (float64, bool) {
		return float64(m.ContactMillis) / 1000, m.ContactMillis >= 0
	})
	members("understudy_member_checkpoint_age_seconds", "Age of the checkpoint that the member holds.", func(m *standby.MemberStatus) (float64, bool) {
		return float64(m.CheckpointAge) / 1000, m.CheckpointAge >= 0
	})
	a.counts.mu.Lock()
	family("understudy_api_events_total", "counter", "Events that came in here, by outcome.")
	for _, k := range slices.Sorted(maps.Keys(a.counts.events)) {
		fmt.Fprintf(&b, "understudy_api_events_total{outcome=%q} %d\n", k, a.counts.events[k])
	}
	family("understudy_api_problems_total", "counter", "Calls that ended without success, by code.")
	for _, k := range slices.Sorted(maps.Keys(a.counts.problems)) {
		fmt.Fprintf(&b, "understudy_api_problems_total{code=%q} %d\n", k, a.counts.problems[k])
	}
	a.counts.mu.Unlock()
	c.w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	return a.bytes(c, b.Bytes())
}

// label escapes a label's value.
func label(s string) string {
	return strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n").Replace(s)
}
