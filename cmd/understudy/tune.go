package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/tune"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

func tuneCommand(o *options) *cobra.Command {
	t := &tuning{o: o}
	c := &cobra.Command{
		Use: "tune", Short: "measure disk and network, and propose a timing",
		Long:    "Tune writes to a file of its own in the data directory and times how long\neach write takes to be durable, and asks the running members how long the others\ntake to answer. It proposes the fastest profile that leaves room for both, says\nwhy, and changes nothing. Run it on each member's machine: the slowest decides.\nExit code 10 says that the configured timing is too tight; 2 that no member\nanswered (--disk-only does without them).",
		Example: "  understudy tune --config a/member.yaml\n  understudy tune --disk-only --dir /var/lib/understudy",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return t.run(c) },
	}
	f := c.Flags()
	f.StringVar(&t.dir, "dir", "", "directory whose disk is measured (default: that of the configured data directory)")
	f.IntVar(&t.writes, "writes", 200, "how many writes are timed")
	f.DurationVar(&t.watch, "for", 5*time.Second, "how long the members are asked for their round trips")
	f.BoolVar(&t.diskOnly, "disk-only", false, "ask no member")
	return c
}

// tuning is a run of the command.
type tuning struct {
	o        *options
	dir      string
	writes   int
	watch    time.Duration
	diskOnly bool
}

// tuned is what it prints.
type tuned struct {
	Dir        string    `json:"dir,omitempty"`
	Fsync      *spreadMS `json:"fsync_ms,omitempty"`
	RoundTrip  *spreadMS `json:"round_trip_ms,omitempty"` // the slowest pair's
	Pairs      []pairMS  `json:"pairs,omitempty"`
	Profile    string    `json:"profile"`
	Settings   []string  `json:"settings"`
	Reasons    []string  `json:"reasons"`
	Configured string    `json:"configured,omitempty"`
	TooTight   []string  `json:"too_tight"`        // why the configured timing does not fit
	Silent     []string  `json:"silent,omitempty"` // members' addresses that did not answer
	measured   tune.Measured
}

type spreadMS struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

type pairMS struct {
	From string `json:"from"`
	To   string `json:"to"`
	spreadMS
}

func inMS(s *tune.Spread) *spreadMS {
	if s == nil {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &spreadMS{s.Count, ms(s.P50), ms(s.P99), ms(s.Max)}
}

func (t *tuning) run(c *cobra.Command) error {
	if _, err := t.o.json(); err != nil {
		return err
	}
	if t.writes < 10 || t.writes > 100_000 || t.watch < time.Second || t.watch > time.Hour {
		return errors.New("use 10 to 100000 --writes, and --for 1s to 1h")
	}
	m, err := t.o.member()
	if err != nil {
		return err
	}
	if m != nil && t.dir == "" {
		t.dir = existing(m.DataDir)
	}
	if t.dir == "" && t.diskOnly {
		return errors.New("which disk? Give --dir DIRECTORY, or --config FILE of a member")
	}
	var out tuned
	if !t.diskOnly {
		if err := t.trips(c.Context(), &out); err != nil {
			return err
		}
	}
	if t.dir != "" {
		took, err := tune.Fsync(c.Context(), t.dir, t.writes)
		if err != nil {
			return err
		}
		out.Dir, out.measured.Fsync = t.dir, tune.SpreadOf(took)
	}
	var now *config.Timing
	if m != nil {
		now = &config.Timing{Heartbeat: m.Heartbeat, Election: m.Election, Lease: m.Lease}
	}
	verdict := out.judge(now)
	return cmp.Or(t.o.print(c.OutOrStdout(), out, out.table), verdict)
}

// judge proposes a timing and holds the configured one, if any, to what was
// measured.
func (t *tuned) judge(now *config.Timing) error {
	p := tune.Propose(t.measured)
	t.Fsync, t.RoundTrip = inMS(t.measured.Fsync), inMS(t.measured.RoundTrip)
	t.Profile, t.Settings, t.Reasons = p.Profile, p.Lines(), append([]string{}, p.Reasons...)
	t.TooTight = []string{}
	if now == nil {
		return nil
	}
	t.Configured = fmt.Sprintf("heartbeat %v, election %v, lease %v", now.Heartbeat, now.Election, now.Lease)
	if t.TooTight = append(t.TooTight, tune.TooTight(*now, t.measured)...); len(t.TooTight) > 0 {
		return silent(10)
	}
	return nil
}

// existing is the directory, or the nearest one above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// trips asks every member once a second how long the others take to answer.
func (t *tuning) trips(ctx context.Context, out *tuned) error {
	cfg, err := t.o.dial(client.Config{StallTimeout: time.Second})
	if err != nil {
		return err
	}
	found := make(map[[2]string][]time.Duration)
	answered := make(map[string]bool)
	alone := false
	var why error
	for end := time.Now().Add(t.watch); ; {
		for _, addr := range cfg.Members {
			st, err := statusOf(ctx, cfg, addr)
			if err != nil {
				why = err
				continue
			}
			answered[addr], alone = true, len(st.Members) == 1
			for i := range st.Members {
				if m := &st.Members[i]; m.Name != st.Member && m.RoundTripMillis >= 0 && m.State != "unreachable" {
					pair := [2]string{st.Member, m.Name}
					found[pair] = append(found[pair], time.Duration(m.RoundTripMillis*float64(time.Millisecond)))
				}
			}
		}
		if time.Now().After(end) {
			break
		}
		select {
		case <-time.After(time.Second): // members ask each other as often
		case <-ctx.Done():
			return context.Canceled
		}
	}
	if alone && t.dir != "" {
		return nil // a group of one has a disk only
	}
	if len(found) == 0 {
		return remote(fmt.Errorf("no member told of a round trip: %w", cmp.Or(why, errors.New("a group of one has none: give the directory of its data with --dir"))))
	}
	out.Silent = slices.DeleteFunc(slices.Clone(cfg.Members), func(addr string) bool { return answered[addr] })
	for _, pair := range slices.SortedFunc(maps.Keys(found), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		s := tune.SpreadOf(found[pair])
		out.Pairs = append(out.Pairs, pairMS{pair[0], pair[1], *inMS(s)})
		if worst := out.measured.RoundTrip; worst == nil || s.P99 > worst.P99 {
			out.measured.RoundTrip = s
		}
	}
	return nil
}

// statusOf asks one member alone.
func statusOf(ctx context.Context, cfg client.Config, addr string) (standby.Status, error) {
	cfg.Members = []string{addr}
	cl, err := client.New(cfg)
	if err != nil {
		return standby.Status{}, err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return cl.Status(ctx)
}

func (t *tuned) table(w io.Writer) error {
	tab := newTable("MEASURED", "COUNT", "P50", "P99", "MAX")
	row := func(what string, s *spreadMS) {
		tab.row(what, fmt.Sprint(s.Count), fmt.Sprintf("%.2f ms", s.P50), fmt.Sprintf("%.2f ms", s.P99), fmt.Sprintf("%.2f ms", s.Max))
	}
	if t.Fsync != nil {
		row("durable write in "+t.Dir, t.Fsync)
	}
	for i := range t.Pairs {
		p := &t.Pairs[i]
		row("round trip "+p.From+" to "+p.To, &p.spreadMS)
	}
	if err := tab.write(w); err != nil {
		return err
	}
	for _, addr := range t.Silent {
		fmt.Fprintf(w, "! %s did not answer: its round trips are not among these\n", addr)
	}
	fmt.Fprintln(w, "\nproposed for member.yaml:")
	for _, l := range t.Settings {
		fmt.Fprintf(w, "  %s\n", l)
	}
	for _, r := range t.Reasons {
		fmt.Fprintf(w, "  # %s\n", r)
	}
	if t.Configured == "" {
		return nil
	}
	verdict := "fits"
	if len(t.TooTight) > 0 {
		verdict = "is too tight"
	}
	_, err := fmt.Fprintf(w, "\nthe configured timing %s: %s\n", verdict, t.Configured)
	for _, r := range t.TooTight {
		fmt.Fprintf(w, "! %s\n", r)
	}
	return err
}
