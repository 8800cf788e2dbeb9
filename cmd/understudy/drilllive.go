package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/internal/drill"
	"github.com/understudy-ha/understudy/standby/client"
)

// ownFlags describe a group that a drill makes; a group in use has its own.
var ownFlags = []string{"daemon", "events", "profile", "seed", "dir", "keep", "state", "members"}

// runLive rehearses with a group in use.
func (d *rehearsal) runLive(c *cobra.Command, faults []drill.Fault) error {
	for _, name := range ownFlags {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s is for a throw-away group, not with --group", name)
		}
	}
	o := *d.o
	o.addrs, o.output = d.group, "table"
	cfg := drill.LiveConfig{
		Client: func(cfg client.Config) (*client.Client, error) { return o.client(cfg) },
		Rounds: d.cfg.Rounds, Rate: d.cfg.Rate, MaxUnavailable: d.cfg.MaxUnavailable, AbortOnRed: d.cfg.AbortOnRed, Timeout: o.timeout,
	}
	for _, cfg.Fault = range faults { // before anything is done
		if err := cfg.Check(); err != nil {
			return err
		}
	}
	form, err := d.begin(c)
	if err != nil {
		return err
	}
	cfg.Progress = d.cfg.Progress
	if d.input != "" {
		if cfg.Input, err = drill.ReadInput(d.input); err != nil {
			return err
		}
	}
	var done []*drill.Report
	for _, f := range faults {
		cfg.Fault = f
		rep, err := drill.RunLive(c.Context(), cfg)
		if err != nil {
			return d.broken(c, form, done, remote(fmt.Errorf("%s: %w", f, err)))
		}
		if done = append(done, rep); cfg.AbortOnRed && !rep.Held() {
			break
		}
	}
	return d.end(c, form, drill.Merge(done))
}
