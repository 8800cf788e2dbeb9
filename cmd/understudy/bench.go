package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/internal/bench"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

func benchCommand(o *options) *cobra.Command {
	var cfg bench.Config
	var axes bench.Axes
	var paths, stores, group []string
	var baseline, sweep bool
	c := &cobra.Command{
		Use: "bench", Short: "measure a throw-away group, beside what bare Raft does",
		Long:    "Bench starts a kv group on loopback, with real disks in a temporary directory,\nand loads it: through the Go client (client), with one POST a batch (http), or\nwithin the active's process (embedded). All combinations of the values given are\nmeasured, each on a fresh group; --sweep varies one thing at a time instead.\n\nWithout --rate each caller sends its next batch when the one before is answered.\nWith it events are due at fixed moments, and a latency counts from then.\n\n--baseline measures, in turn with the group, the same Raft with the same settings,\nstore and connections under a state machine that does nothing: one entry a call\n(raft) and packed (raft-packed), and the libraries' defaults (raft-stock), to which\nno ratio is given. Figures are this machine's; the ratios say more.",
		Example: "  understudy bench --path embedded --concurrency 1,16,256 --baseline --runs 5\n  understudy bench --batch 128 --concurrency 16 -o json\n  understudy bench --rate 5000 --concurrency 512 --time 30s",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			if cfg.Program, err = os.Executable(); err != nil {
				return err
			}
			cfg.Version = version()
			for _, p := range paths {
				axes.Paths = append(axes.Paths, bench.Path(p))
			}
			for _, s := range stores {
				axes.Stores = append(axes.Stores, standby.RaftStore(s))
			}
			cfg.Cases = axes.Cases()
			if sweep {
				if cfg.Cases, err = axes.Sweep(); err != nil {
					return err
				}
			}
			if baseline {
				cfg.Floors = []string{bench.Single, bench.Packed, bench.Stock}
			}
			if len(group) > 0 {
				o.addrs = group
				if err := benchInUse(c, o, &cfg); err != nil {
					return err
				}
			}
			live := c.OutOrStdout()
			if asJSON {
				live = c.ErrOrStderr()
			}
			cfg.Progress = func(format string, args ...any) { fmt.Fprintf(live, format+"\n", args...) }
			rep, err := bench.Run(c.Context(), cfg)
			if err != nil && len(group) > 0 {
				err = remote(err)
			}
			if rep == nil || err != nil && len(rep.Results) == 0 {
				return err
			}
			return errors.Join(err, o.print(c.OutOrStdout(), rep, func(w io.Writer) error { return benchTable(w, rep) }))
		},
	}
	f := c.Flags()
	f.StringSliceVar(&paths, "path", []string{string(bench.Client)}, fmt.Sprintf("how events reach the active: %v", bench.Paths()))
	f.StringSliceVar(&stores, "store", []string{string(standby.RaftStoreFile)}, fmt.Sprintf("what keeps the Raft log: %s, %s", standby.RaftStoreFile, standby.RaftStoreBolt))
	f.IntSliceVar(&axes.Payloads, "payload", []int{128}, fmt.Sprintf("bytes of an event, %d to %d", bench.MinPayload, bench.MaxPayload))
	f.IntSliceVar(&axes.Concurrency, "concurrency", []int{64}, fmt.Sprintf("callers, 1 to %d", bench.MaxConcurrency))
	f.IntSliceVar(&axes.Batches, "batch", []int{1}, fmt.Sprintf("events of a call, 1 to %d", bench.MaxBatch))
	f.IntSliceVar(&axes.Members, "members", []int{3}, "members: 1, 3 or 5")
	f.Float64Var(&axes.Rate, "rate", 0, "events a second, whatever the answers do; 0: as fast as answers come")
	f.DurationVar(&cfg.Warm, "warm", time.Second, "load before what is measured")
	f.DurationVar(&cfg.Measure, "time", 3*time.Second, "how long is measured")
	f.IntVar(&cfg.Runs, "runs", 1, "runs of each case, each on a fresh group; the one in the middle is reported")
	f.BoolVar(&baseline, "baseline", false, "measure bare Raft too, in turn")
	f.BoolVar(&sweep, "sweep", false, "vary payload, concurrency, batch and members one at a time")
	f.StringSliceVar(&group, "group", nil, "API addresses of all members of a kv group that is there: its state changes")
	f.StringVar(&cfg.Dir, "dir", "", "directory for the data (default: a temporary one)")
	f.StringVar(&cfg.Profile, "pprof", "", "write CPU and allocation profiles of each case to this directory")
	return c
}

// benchInUse makes sure that a group in use can be measured, before anything is
// sent to it.
func benchInUse(c *cobra.Command, o *options, cfg *bench.Config) (err error) {
	for _, name := range []string{"baseline", "store", "members", "dir"} {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s is for a throw-away group, not with --group", name)
		}
	}
	if cfg.Group, err = o.dial(client.Config{}); err != nil {
		return err
	}
	if err := cfg.Check(); err != nil {
		return err
	}
	ctx, cancel := o.deadline(c)
	defer cancel()
	return remote(bench.CheckGroup(ctx, cfg.Group))
}

// benchMemberCommand is `run` under a profile, for bench.
func benchMemberCommand(o *options) *cobra.Command {
	c := runCommand(o)
	run := c.RunE
	var profile string
	c.Use, c.Hidden = "bench-member", true
	c.Flags().StringVar(&profile, "cpu-profile", "", "files to write, without their end")
	c.RunE = func(c *cobra.Command, args []string) error {
		return bench.Profiled(profile, func() error { return run(c, args) })
	}
	return c
}

// benchFloorCommand is a member of a floor, for bench.
func benchFloorCommand() *cobra.Command {
	var m bench.FloorMember
	c := &cobra.Command{
		Use: "bench-floor", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return m.Run(c.Context()) },
	}
	f := c.Flags()
	f.StringVar(&m.Kind, "kind", "", "which floor")
	f.StringVar(&m.Store, "store", "", "what keeps the log")
	f.StringVar(&m.Dir, "dir", "", "the member's directory")
	f.StringVar(&m.Name, "member", "", "the member's name")
	f.StringToStringVar(&m.Peers, "peers", nil, "addresses of all members for each other")
	f.StringVar(&m.Load, "load", "", "address for the load")
	return c
}

func benchTable(w io.Writer, r *bench.Report) error {
	fmt.Fprintf(w, "\n%s/%s, %d CPUs, %s, load average %.1f before\n\n", r.Machine.OS, r.Machine.Arch, r.Machine.CPUs, r.Machine.Go, r.Machine.Load)
	t := newTable("NAME", "PATH", "STORE", "PAYLOAD", "CALLERS", "BATCH", "MEMBERS", "EVENTS/S", "P50", "P99", "P99.9", "MAX", "CPU/EVENT", "DISK/EVENT", "SENT/EVENT", "FSYNCS/EVENT", "RSS", "OF FLOOR", "P50 OF FLOOR")
	us := func(v float64) string {
		return (time.Duration(v*1000) * time.Nanosecond).Round(10 * time.Microsecond).String()
	}
	known := func(v float64, format string) string {
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	for _, x := range r.Results {
		t.row(x.Name, string(x.Path), x.Store, fmt.Sprint(x.Payload), fmt.Sprint(x.Concurrency), fmt.Sprint(x.Batch), fmt.Sprint(x.Members),
			fmt.Sprintf("%.0f", x.EventsPerS), us(x.P50), us(x.P99), us(x.P999), us(x.Max), known(x.CPU, "%.1f us"),
			known(x.Written, "%.0f B"), known(x.Sent, "%.0f B"), known(x.Syncs, "%.3f"), known(x.RSS, "%.0f MB"), known(x.Ratio, "%.2f"), known(x.P50Ratio, "%.2f"))
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, x := range r.Results {
		if x.Failed > 0 {
			fmt.Fprintf(w, "! %s, %s, %d B, %d callers, batches of %d: %d runs failed and were repeated\n", x.Name, x.Path, x.Payload, x.Concurrency, x.Batch, x.Failed)
		}
	}
	return nil
}
