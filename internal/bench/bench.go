// Package bench measures a group under load and, in the same run, what the
// same Raft does with nothing on top of it: real processes or members in this
// one, real TCP, real disks. Absolute numbers are those of a machine; the
// ratios are what counts.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/standby/client"
)

// Config says what to measure.
type Config struct {
	Program  string // the understudy binary that the members run
	Version  string
	Cases    []Case
	Warm     time.Duration // load before what counts
	Measure  time.Duration // what counts
	Runs     int           // of each case; the one in the middle is reported
	Floors   []string      // measured beside each case
	Group    client.Config // members of a group that is there; none: one is started for each run
	Dir      string        // for data; empty: a temporary one
	Profile  string        // directory for CPU and allocation profiles; empty: none
	Progress func(format string, args ...any)
}

// Check completes the configuration, or says what makes no sense in it.
func (c *Config) Check() error {
	if len(c.Cases) == 0 {
		return errors.New("nothing to measure: give a path, a payload, a concurrency, a batch and a number of members")
	}
	for i := range c.Cases {
		if err := c.Cases[i].check(); err != nil {
			return err
		}
		if len(c.Group.Members) > 0 && c.Cases[i].Path == Embedded {
			return errors.New("a group that is there cannot be embedded: use the client or http path")
		}
	}
	for _, f := range c.Floors {
		if !slices.Contains([]string{Single, Packed, Stock}, f) {
			return fmt.Errorf("no floor is called %.20q: use %s, %s or %s", f, Single, Packed, Stock)
		}
	}
	switch {
	case len(c.Floors) > 0 && len(c.Group.Members) > 0:
		return errors.New("a floor beside a group that is there says nothing: it has other disks and connections")
	case c.Runs < 1 || c.Runs > 100:
		return fmt.Errorf("%d runs: use 1 to 100", c.Runs)
	case c.Measure < 50*time.Millisecond || c.Measure > time.Hour || c.Warm < 0 || c.Warm > time.Hour:
		return fmt.Errorf("measuring for %v after %v: use 50ms to 1h", c.Measure, c.Warm)
	}
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	return nil
}

// Run measures every case: all of its runs, the floors in turn with the
// product, so that whatever else the machine does hits both. With an error the
// report holds the cases before the one that failed.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		dir, err := os.MkdirTemp("", "understudy-bench-")
		if err != nil {
			return nil, err
		}
		defer os.Remove(dir) // only if nothing was left in it that says what went wrong
		cfg.Dir = dir
	}
	if cfg.Profile != "" {
		if err := os.MkdirAll(cfg.Profile, 0o700); err != nil {
			return nil, err
		}
	}
	rep := &Report{Machine: thisMachine(cfg.Version)}
	if len(cfg.Group.Members) > 0 {
		cfg.Cases = cfg.inUse()
	}
	for i := range cfg.Cases {
		c := &cfg.Cases[i]
		runs := make([][]Result, 1+len(cfg.Floors))
		for range cfg.Runs {
			var turn []Result
			for _, name := range append([]string{product}, cfg.Floors...) {
				r, err := cfg.again(ctx, name, c)
				if err != nil {
					return rep, fmt.Errorf("%s, %v: %w", name, c, err)
				}
				cfg.Progress("%-12s %v: %.0f events/s, p50 %.0f us, p99 %.0f us", name, c, r.EventsPerS, r.P50, r.P99)
				turn = append(turn, *r)
			}
			turn[0].against(turn[1:])
			for i := range turn {
				runs[i] = append(runs[i], turn[i])
			}
		}
		for _, r := range runs {
			rep.Results = append(rep.Results, median(r))
		}
	}
	return rep, nil
}

// attempts is how often a run is tried: an election on a busy machine ends one
// that says nothing, but it is told.
const attempts = 3

func (cfg *Config) again(ctx context.Context, name string, c *Case) (r *Result, err error) {
	for failed := range attempts {
		if r, err = cfg.run(ctx, name, c); err == nil {
			r.Failed = failed
			return r, nil
		}
		if ctx.Err() != nil {
			break
		}
		cfg.Progress("%-12s %v: the run failed: %v", name, c, err)
	}
	return nil, err
}

func (cfg *Config) open(ctx context.Context, name string, c *Case) (system, error) {
	inside := c.Path == Embedded
	switch {
	case name != product && inside:
		return openFloorEmbedded(ctx, cfg.Dir, name, c)
	case name != product:
		return openFloorProcesses(ctx, cfg, name, c)
	case inside:
		return openEmbedded(ctx, cfg.Dir, c)
	case len(cfg.Group.Members) > 0:
		return join(ctx, cfg.Group, c)
	}
	return openProcesses(ctx, cfg, c)
}

// run measures a case once, on a fresh group.
func (cfg *Config) run(ctx context.Context, name string, c *Case) (_ *Result, err error) {
	debug.FreeOSMemory() // what the last run left behind is not this one's
	s, err := cfg.open(ctx, name, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if dir := s.close(); err != nil {
			err = kept(ctx, err, dir)
		} else {
			os.RemoveAll(dir)
		}
	}()
	callers := make([]caller, c.Concurrency)
	for i := range callers {
		if callers[i], err = s.caller(i); err != nil {
			return nil, err
		}
	}
	begin := time.Now().Add(cfg.Warm)
	w := window{begin, begin.Add(cfg.Measure)}
	m := meter{s: s, w: w, done: make(chan struct{})}
	if cfg.Profile != "" && name == product {
		m.profile = cfg.profile(c, "load")
		if c.Path == Embedded {
			m.profile = cfg.profile(c, "all")
		}
	}
	metering, cancel := context.WithCancel(ctx)
	defer cancel()
	go m.read(metering)
	t, err := drive(ctx, callers, c.payloads(), c.Batch, c.Rate, w)
	if err != nil {
		cancel()
	}
	<-m.done
	if err = errors.Join(err, m.err); err != nil {
		return nil, err
	}
	r := c.result(name, &t, cfg.Measure, m.members, m.load)
	return &r, nil
}

// profile names a profile's file, without its end.
func (cfg *Config) profile(c *Case, who string) string {
	return filepath.Join(cfg.Profile, fmt.Sprintf("%s-%s-%dB-c%d-b%d-m%d-%s", c.Path, c.Store, c.Payload, c.Concurrency, c.Batch, c.Members, who))
}
