package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

func statusCommand(o *options) *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use: "status", Aliases: []string{"ls"}, Short: "the table that tells how the group is",
		Long: "Status prints what the member that answers knows. Exit code 10 says that the\ngroup has no active.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if watch {
				return o.watch(c)
			}
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				st, err := cl.Status(ctx)
				if err != nil {
					return remote(err)
				}
				if err := o.print(c.OutOrStdout(), st, func(w io.Writer) error { return statusTable(w, &st) }); err != nil {
					return err
				}
				if st.Active == "" {
					return silent(10)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "print again at each change, until interrupted")
	return c
}

func (o *options) watch(c *cobra.Command) error {
	cl, err := o.follow(c)
	if err != nil {
		return err
	}
	defer cl.Close(context.WithoutCancel(c.Context()))
	w := c.OutOrStdout()
	for st, err := range cl.Watch(c.Context()) {
		if c.Context().Err() != nil {
			return context.Canceled
		}
		if err != nil {
			return remote(err)
		}
		if err := o.print(w, st, func(w io.Writer) error {
			if terminal(w) {
				fmt.Fprint(w, "\x1b[H\x1b[2J") // home, clear
			} else {
				fmt.Fprintf(w, "-- %s\n", time.Now().UTC().Format("2006-01-02 15:04:05.000Z"))
			}
			return statusTable(w, &st)
		}); err != nil {
			return err
		}
	}
	return nil
}

func historyCommand(o *options) *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "history", Short: "list the promotions, newest first",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 || limit > 1000 {
				return errors.New("--limit: use 1 to 1000")
			}
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				ps, err := cl.History(ctx, limit)
				if err != nil {
					return remote(err)
				}
				return o.print(c.OutOrStdout(), map[string]any{"promotions": ps}, func(w io.Writer) error { return historyTable(w, ps) })
			})
		},
	}
	c.Flags().IntVarP(&limit, "limit", "n", 20, "how many, 1 to 1000")
	return c
}

func syncCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "sync", Short: "make a checkpoint now and have every standby hold it",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				r, err := cl.Sync(ctx)
				if err != nil {
					return remote(err)
				}
				if err := o.print(c.OutOrStdout(), r, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "checkpoint at seq %d, %d bytes\n", r.Seq, r.Bytes)
					for _, m := range slices.Sorted(maps.Keys(r.Members)) {
						fmt.Fprintf(w, "  %s: %s\n", m, r.Members[m])
					}
					return err
				}); err != nil {
					return err
				}
				for _, s := range r.Members {
					if !slices.Contains([]string{"source", "synced"}, s) {
						return silent(5)
					}
				}
				return nil
			})
		},
	}
}

func switchoverCommand(o *options) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "switchover", Short: "hand the active role to another member",
		Long:    "Switchover refuses, with the reason, unless the target is up, in step and able\nto take the role; then it drains, transfers, and returns once the new active\nserves. Exit code 4 says that the outcome is not known: see status and history.",
		Example: "  understudy switchover --to b",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				r, err := cl.Switchover(ctx, to)
				if err != nil {
					return remote(err)
				}
				return o.print(c.OutOrStdout(), r, func(w io.Writer) error {
					for _, p := range r.Phases {
						fmt.Fprintf(w, "%-12s %8.1f ms\n", p.Name, p.Millis)
					}
					_, err := fmt.Fprintf(w, "%s -> %s in term %d, unavailable %.1f ms\nundo: understudy switchover --to %s\n", r.From, r.To, r.Term, r.UnavailableMillis, r.From)
					return err
				})
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the member to be active (default: the best one)")
	return c
}

func stepDownCommand(o *options) *cobra.Command {
	var hold time.Duration
	c := &cobra.Command{
		Use: "step-down", Short: "have the active give up its role and not take it back for a while",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if hold < 0 || hold > time.Hour {
				return errors.New("--hold: use up to 1h, and never_active in the configuration beyond that")
			}
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				m, err := cl.StepDown(ctx, hold)
				if err != nil {
					return remote(err)
				}
				v := map[string]any{"member": m, "hold_ms": hold.Milliseconds()}
				return o.print(c.OutOrStdout(), v, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%s stepped down and holds back for %v\n", m, hold)
					return err
				})
			})
		},
	}
	c.Flags().DurationVar(&hold, "hold", 10*time.Second, "how long it does not take the role back")
	return c
}

// historyTable prints promotions.
func historyTable(w io.Writer, ps []standby.Promotion) error {
	t := newTable("TERM", "AT", "FROM", "TO", "CAUSE", "SEQ", "CHECKPOINT", "REPLAYED", "PHASES")
	for _, p := range ps {
		phases := "?"
		if len(p.PhasesMillis) > 0 {
			var parts []string
			for _, name := range []string{standby.PhaseBarrier, standby.PhaseRestore, standby.PhaseReplay, standby.PhaseFence, standby.PhaseActive} {
				if ms, ok := p.PhasesMillis[name]; ok {
					parts = append(parts, fmt.Sprintf("%s %.1f", name, ms))
				}
			}
			phases = strings.Join(parts, ", ") + " ms"
		}
		t.row(fmt.Sprint(p.Term), p.Time.UTC().Format("2006-01-02 15:04:05Z"), cmpOr(p.From, "-"), p.To, p.Reason,
			fmt.Sprint(p.Seq), fmt.Sprint(p.CheckpointSeq), fmt.Sprint(p.Replayed), phases)
	}
	return t.write(w)
}
