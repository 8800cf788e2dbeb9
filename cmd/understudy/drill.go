package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/understudy-ha/understudy/internal/drill"
)

// Load of a drill without input of its own.
const (
	drillEvents    = 5000 // a round
	drillRunEvents = 2000 // a round of drill run
	drillRate      = 2000 // a second
)

const drillCodes = "Exit code 0: nothing was lost or doubled, all\nproofs hold and the group served again in time; 6: a proof failed; 8: something\nwas lost or doubled; 10: the group did not come back, or not in time."

func drillCommand(o *options) *cobra.Command {
	d := &rehearsal{o: o}
	var fault string
	c := &cobra.Command{
		Use: "drill", Short: "start a throw-away group, break it, and report what happened",
		Long:    "Drill starts three member processes on loopback in a temporary directory, feeds\nthem from numbered producers, hits the active with a fault at a random moment of\neach round, brings it back, and verifies a continuity proof across each takeover.\nEvery receipt, every output and the state are compared with a run of the same\ninput in one process. " + drillCodes,
		Example: "  understudy drill\n  understudy drill --daemon wordcount --input book.txt --rounds 5 -o json\n  understudy drill list\n  understudy drill run partition disk-stall -o html > report.html",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := o.json(); err != nil {
				return err
			}
			return d.run(c, []drill.Fault{drill.Fault(fault)})
		},
	}
	d.flags(c.Flags(), drillEvents)
	c.Flags().StringVar(&fault, "fault", string(drill.Kill), "what is done: see understudy drill list")
	c.AddCommand(drillListCommand(o), drillRunCommand(o))
	return c
}

func drillListCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list the faults that can be rehearsed",
		Long: "List prints each fault, what it does, what a drill of it proves, and what it is\nmade with. Harmless ones may be done to a group in use: drill run --group.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			type row struct {
				Fault    drill.Fault `json:"fault"`
				Does     string      `json:"does"`
				Proves   string      `json:"proves"`
				Needs    string      `json:"needs"`
				Harmless bool        `json:"harmless"`
			}
			var rows []row
			for _, k := range drill.Kinds() {
				rows = append(rows, row{k.Fault, k.Does, k.Proves, k.Needs(), k.Harmless()})
			}
			return o.print(c.OutOrStdout(), map[string]any{"faults": rows}, func(w io.Writer) error {
				t := newTable("FAULT", "DOES", "NEEDS", "HARMLESS")
				for _, r := range rows {
					harmless := "no"
					if r.Harmless {
						harmless = "yes"
					}
					t.row(string(r.Fault), r.Does, r.Needs, harmless)
				}
				return t.write(w)
			})
		},
	}
}

func drillRunCommand(o *options) *cobra.Command {
	d := &rehearsal{o: o}
	c := &cobra.Command{
		Use: "run FAULT...|all", Short: "rehearse faults and report what happened",
		Long:    "Run rehearses each fault with a throw-away group of its own on loopback, and\ncompares as understudy drill does. " + drillCodes,
		Example: "  understudy drill run kill pause --rounds 10\n  understudy drill run all -o html > report.html\n  understudy drill run disk-stall --max-unavailable 5s --report drill.xml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			faults, err := drill.ParseFaults(args)
			if err != nil {
				return err
			}
			if len(d.group) > 0 {
				return d.runLive(c, faults)
			}
			return d.run(c, faults)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&d.group, "group", nil, "API addresses of a group in use: only harmless faults, and nothing is started or stopped")
	d.flags(f, drillRunEvents)
	f.IntVar(&d.cfg.Members, "members", 3, "how many members the group has")
	f.DurationVar(&d.cfg.MaxUnavailable, "max-unavailable", 0, "longest outage that is in order (default: the fault's own bound, if it has one)")
	f.BoolVar(&d.cfg.AbortOnRed, "abort-on-red", false, "end after the first round that does not hold")
	f.StringSliceVar(&d.reports, "report", nil, "also write the report to a file, repeatable: .json, .xml (JUnit) or .html")
	return c
}

// rehearsal is the drill that the flags describe.
type rehearsal struct {
	o            *options
	cfg          drill.Config
	input, state string
	events       int
	keep         bool
	reports      []string
	group        []string
}

func (d *rehearsal) flags(f *pflag.FlagSet, events int) {
	f.StringVar(&d.cfg.Daemon, "daemon", "ledger", "built-in daemon")
	f.StringVar(&d.input, "input", "", "text to feed, one event a line (default: made up for the daemon)")
	f.IntVar(&d.events, "events", events, "events a round, without --input")
	f.IntVar(&d.cfg.Rounds, "rounds", 3, "how many times")
	f.IntVar(&d.cfg.Rate, "rate", 0, fmt.Sprintf("events a second; 0: as many as the group takes (default %d without --input)", drillRate))
	f.StringVar(&d.cfg.Profile, "profile", "lan-fast", "timing of elections: lan, lan-fast or wan")
	f.Uint64Var(&d.cfg.Seed, "seed", 0, "of the input and of the faults' moments (default: random)")
	f.StringVar(&d.cfg.Dir, "dir", "", "directory to use and keep (default: a temporary one)")
	f.BoolVar(&d.keep, "keep", false, "keep the temporary directory with data and logs")
	f.StringVar(&d.state, "state", "", "write the daemon's final answer to a file, of a drill of one fault")
}

// run rehearses one fault after the other, each with a new group.
func (d *rehearsal) run(c *cobra.Command, faults []drill.Fault) error {
	if d.state != "" && len(faults) > 1 {
		return fmt.Errorf("--state is for one fault: each of %d has a group of its own", len(faults))
	}
	form, err := d.begin(c)
	if err != nil {
		return err
	}
	if err := d.prepare(c); err != nil {
		return err
	}
	var done []*drill.Report
	for _, f := range faults {
		rep, err := d.one(c.Context(), f, len(faults) > 1)
		if err != nil {
			return d.broken(c, form, done, stuck(c.Context(), f, err))
		}
		if done = append(done, rep); d.cfg.AbortOnRed && !rep.Held() {
			break
		}
	}
	return d.end(c, form, drill.Merge(done))
}

// stuck is the error of a drill that could not go on. What its group answered
// stays its own: the exit codes tell of groups in use.
func stuck(ctx context.Context, f drill.Fault, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s: %s", f, err.Error())
}

// begin checks the forms of the report and sets where the progress goes.
func (d *rehearsal) begin(c *cobra.Command) (form string, err error) {
	if form, err = d.format(); err != nil {
		return "", err
	}
	for _, file := range d.reports {
		if _, err := formatOf(file); err != nil {
			return "", err
		}
		if err := placeFor("report", file); err != nil {
			return "", err
		}
	}
	if d.state != "" {
		if err := placeFor("state", d.state); err != nil {
			return "", err
		}
	}
	live := c.OutOrStdout()
	if form != "table" {
		live = c.ErrOrStderr()
	}
	d.cfg.Progress = func(format string, args ...any) { fmt.Fprintf(live, format+"\n", args...) }
	return form, nil
}

// placeFor refuses a file that could not be written after all the work.
func placeFor(flag, file string) error {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return fmt.Errorf("--%s %s: make its directory first: %w", flag, file, err)
	}
	return nil
}

// broken is the end of a drill that could not go on: what was done is reported
// all the same, and the exit code is that of the error.
func (d *rehearsal) broken(c *cobra.Command, form string, done []*drill.Report, why error) error {
	if len(done) == 0 {
		return why
	}
	if err := d.end(c, form, drill.Merge(done)); err != nil && !errors.As(err, new(silent)) {
		return errors.Join(why, err)
	}
	return why
}

// end prints the report, writes it, and tells by the exit code whether the
// group held. A disk that is full takes one of the two, not both.
func (d *rehearsal) end(c *cobra.Command, form string, rep *drill.Report) error {
	printed := d.write(c.OutOrStdout(), form, rep)
	if d.state != "" && rep.State != nil { // not of a drill that ended early
		if err := save(nil, d.state, rep.State); err != nil {
			return err
		}
	}
	for _, file := range d.reports {
		f, _ := formatOf(file)
		var b strings.Builder
		if err := d.write(&b, f, rep); err != nil {
			return err
		}
		if err := save(nil, file, []byte(b.String())); err != nil {
			return err
		}
	}
	switch {
	case printed != nil:
		return printed
	case rep.Lost > 0 || rep.Duplicated > 0:
		return silent(8)
	case rep.ProofsBad > 0:
		return silent(6)
	case rep.Failed > 0:
		return silent(10)
	}
	return nil
}

// prepare makes the input and the seed that it follows from.
func (d *rehearsal) prepare(c *cobra.Command) (err error) {
	cfg := &d.cfg
	if cfg.Program, err = os.Executable(); err != nil {
		return err
	}
	cfg.Seed = cmp.Or(cfg.Seed, drill.NewSeed())
	switch {
	case d.input != "":
		if cfg.Input, err = drill.ReadInput(d.input); err != nil {
			return err
		}
	case d.events < 1 || d.events > drill.MaxEvents:
		return fmt.Errorf("--events: use 1 to %d", drill.MaxEvents)
	default:
		cfg.Input = drill.MakeInput(cfg.Daemon, d.events*min(max(cfg.Rounds, 1), drill.MaxRounds), cfg.Seed)
		if !c.Flags().Changed("rate") {
			cfg.Rate = drillRate
		}
	}
	if d.keep && cfg.Dir == "" {
		cfg.Dir, err = os.MkdirTemp("", "understudy-drill-")
	}
	return err
}

func (d *rehearsal) one(ctx context.Context, f drill.Fault, several bool) (*drill.Report, error) {
	cfg := d.cfg
	cfg.Fault = f
	if several && cfg.Dir != "" {
		cfg.Dir = filepath.Join(cfg.Dir, string(f))
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	rep, err := drill.Run(ctx, cfg)
	if err == nil {
		cfg.Progress("%s: %d rounds in %s", f, len(rep.Rounds), age(time.Since(start)))
	}
	return rep, err
}

// format is what -o asks for. A drill has more forms than other commands.
func (d *rehearsal) format() (string, error) {
	switch d.o.output {
	case "table", "json", "junit", "html":
		return d.o.output, nil
	}
	return "", fmt.Errorf("output %.30q: use table, json, junit or html", d.o.output)
}

func formatOf(file string) (string, error) {
	switch filepath.Ext(file) {
	case ".json":
		return "json", nil
	case ".xml":
		return "junit", nil
	case ".html":
		return "html", nil
	}
	return "", fmt.Errorf("--report %.60q: end the name with .json, .xml or .html", file)
}

func (d *rehearsal) write(w io.Writer, form string, rep *drill.Report) error {
	switch form {
	case "junit":
		return rep.WriteJUnit(w)
	case "html":
		return rep.WriteHTML(w)
	case "json":
		return writeJSON(w, rep)
	}
	return drillTable(w, rep)
}
