package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/standby"
)

// table is aligned columns of text.
type table struct{ rows [][]string }

func newTable(head ...string) *table { return &table{[][]string{head}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		for i, c := range r {
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// terminal says whether people read along.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// statusTable prints the one table that answers everything.
func statusTable(w io.Writer, st *standby.Status) error {
	active := "none known"
	if st.Active != "" {
		active = st.Active
		if !st.ActiveSince.IsZero() {
			active += " for " + age(time.Since(st.ActiveSince))
		}
	}
	spare := max(0, st.Quorum.Healthy-(st.Quorum.Voters/2+1))
	fmt.Fprintf(w, "GROUP %s (%s)  daemon %s  term %d  seq %d  active: %s  quorum %d/%d  tolerates %d more\n",
		st.Group, st.Origin.Short(), st.Daemon, st.Term, st.Seq, active, st.Quorum.Healthy, st.Quorum.Voters, spare)
	t := newTable("MEMBER", "ROLE", "STATE", "TERM", "SEQ", "HEAD", "TRAIL", "BACKLOG", "CHECKPOINT", "CONTACT", "HEALTH", "VERSION")
	for i := range st.Members {
		m := &st.Members[i]
		name := m.Name
		if m.Name == st.Active {
			name += " *"
		}
		known := m.Term > 0 || !m.Head.IsZero()
		number := func(n uint64) string {
			if !known {
				return "?"
			}
			return fmt.Sprint(n)
		}
		head := "?"
		if known {
			head = m.Head.String()[:8]
		}
		checkpoint := "none"
		switch {
		case !known:
			checkpoint = "?"
		case m.CheckpointAge >= 0:
			checkpoint = fmt.Sprintf("%d, %s ago", m.CheckpointSeq, age(time.Duration(m.CheckpointAge)*time.Millisecond))
		case m.CheckpointSeq > 0:
			checkpoint = fmt.Sprint(m.CheckpointSeq)
		}
		contact := "-"
		if m.Name != st.Member {
			contact = "never"
			if m.ContactMillis >= 0 {
				contact = age(time.Duration(m.ContactMillis) * time.Millisecond)
			}
		}
		t.row(name, string(m.Role), m.State, number(m.Term), number(m.Seq), head, count(m.TrailEvents), count(m.BacklogEvents),
			checkpoint, contact, m.Health, m.Version)
	}
	if err := t.write(w); err != nil {
		return err
	}
	for i := range st.Members {
		if m := &st.Members[i]; m.Reason != "" {
			fmt.Fprintf(w, "! %s: %s\n", m.Name, m.Reason)
		}
	}
	for _, n := range st.Notes {
		fmt.Fprintf(w, "! %s\n", n)
	}
	return nil
}

func count(n int64) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprint(n)
}

// age is a duration in one or two units.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", max(0, d.Milliseconds()))
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
