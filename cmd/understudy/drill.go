package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/internal/drill"
	"github.com/understudy-ha/understudy/standby"
)

// Load of a drill without input of its own.
const (
	drillEvents = 5000 // a round
	drillRate   = 2000 // a second
)

func drillCommand(o *options) *cobra.Command {
	var cfg drill.Config
	var fault, input, state string
	var keep bool
	c := &cobra.Command{
		Use: "drill", Short: "start a throw-away group, break it, and report what happened",
		Long:    "Drill starts three member processes on loopback in a temporary directory, feeds\nthem from numbered producers, hits the active with a fault at a random moment of\neach round, brings it back, and verifies a continuity proof across each takeover.\nAt the end every receipt, every output and the final state are compared with a run\nof the same input in one process. Exit code 0: nothing was lost or doubled and all\nproofs hold; 6: a proof failed; 8: something was lost or doubled.",
		Example: "  understudy drill\n  understudy drill --daemon wordcount --input book.txt --rounds 5 -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			asJSON, err := o.json()
			if err != nil {
				return err
			}
			cfg.Fault = drill.Fault(fault)
			if cfg.Program, err = os.Executable(); err != nil {
				return err
			}
			live := c.OutOrStdout()
			if asJSON {
				live = c.ErrOrStderr()
			}
			cfg.Progress = func(format string, args ...any) { fmt.Fprintf(live, format+"\n", args...) }
			if input != "" {
				if cfg.Input, err = drill.ReadInput(input); err != nil {
					return err
				}
			} else {
				cfg.Input = drill.MakeInput(cfg.Daemon, drillEvents*min(max(cfg.Rounds, 1), drill.MaxRounds), cfg.Seed)
				if !c.Flags().Changed("rate") {
					cfg.Rate = drillRate
				}
			}
			if keep && cfg.Dir == "" {
				if cfg.Dir, err = os.MkdirTemp("", "understudy-drill-"); err != nil {
					return err
				}
			}
			rep, err := drill.Run(c.Context(), cfg)
			if err != nil {
				return err
			}
			if state != "" {
				if err := save(nil, state, rep.State); err != nil {
					return err
				}
			}
			if err := o.print(c.OutOrStdout(), rep, func(w io.Writer) error { return drillTable(w, rep) }); err != nil {
				return err
			}
			switch {
			case rep.Lost > 0 || rep.Duplicated > 0:
				return silent(8)
			case rep.ProofsBad > 0:
				return silent(6)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Daemon, "daemon", "ledger", "built-in daemon")
	f.StringVar(&input, "input", "", "text to feed, one event a line (default: made up for the daemon)")
	f.IntVar(&cfg.Rounds, "rounds", 3, "how many faults")
	f.StringVar(&fault, "fault", string(drill.Kill), fmt.Sprintf("what is done to the active: %v", drill.Faults()))
	f.IntVar(&cfg.Rate, "rate", 0, fmt.Sprintf("events a second; 0: as many as the group takes (default %d without --input)", drillRate))
	f.StringVar(&cfg.Profile, "profile", "lan-fast", "timing of elections: lan, lan-fast or wan")
	f.Uint64Var(&cfg.Seed, "seed", 0, "of the faults' moments (default: random)")
	f.StringVar(&cfg.Dir, "dir", "", "directory to use and keep (default: a temporary one)")
	f.BoolVar(&keep, "keep", false, "keep the temporary directory with data and logs")
	f.StringVar(&state, "state", "", "write the daemon's final answer to a file")
	return c
}

func drillTable(w io.Writer, r *drill.Report) error {
	fmt.Fprintln(w)
	t := newTable("ROUND", "FAULT", "VICTIM", "PROMOTED", "DETECT", "ELECT", "BARRIER", "REPLAY", "FENCE", "SERVE", "TOTAL", "REPLAYED", "PROOF")
	for i, x := range r.Rounds {
		ms := func(names ...string) string {
			sum := 0.0
			for _, n := range names {
				sum += x.PhasesMS[n]
			}
			return fmt.Sprintf("%.1f", sum)
		}
		proof := "ok"
		if x.Proof != "ok" {
			proof = "BAD"
		}
		t.row(fmt.Sprint(i+1), string(x.Fault), x.Victim, x.Promoted, ms("detect"), ms("elect"), ms(standby.PhaseBarrier),
			ms(standby.PhaseRestore, standby.PhaseReplay), ms(standby.PhaseFence), ms(standby.PhaseActive, "serve"),
			fmt.Sprintf("%.1f ms", x.UnavailableMS), fmt.Sprint(x.Replayed), proof)
	}
	if err := t.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nunavailable p50 %.1f ms, p95 %.1f ms, max %.1f ms\n", r.Unavailable.P50, r.Unavailable.P95, r.Unavailable.Max)
	fmt.Fprintf(w, "acknowledged %d of %d (%d rejected by the daemon), lost %d, duplicated %d\n", r.Acknowledged, r.Events, r.Rejected, r.Lost, r.Duplicated)
	fmt.Fprintf(w, "proofs verified %d, failed %d\n", r.ProofsOK, r.ProofsBad)
	for q, a := range r.Answers {
		fmt.Fprintf(w, "%s: %s\n", q, a)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "! %s\n", f)
	}
	if r.Dir != "" {
		fmt.Fprintf(w, "data and logs: %s (seed %d)\n", r.Dir, r.Seed)
	}
	if !r.Held() {
		return nil
	}
	_, err := fmt.Fprintln(w, "the group held: nothing lost, nothing doubled, every takeover proven")
	return err
}
