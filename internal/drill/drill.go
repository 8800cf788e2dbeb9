// Package drill breaks a group on purpose and measures what happened: real
// processes on loopback, real input from numbered producers, a fault at a
// random moment of each round, and afterwards a comparison of every
// acknowledged receipt, every output and the final state with a run of the
// same input in a single process.
package drill

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/daemons"
)

// Config says what to rehearse.
type Config struct {
	Program  string // the understudy binary that the members run
	Daemon   string // a built-in daemon
	Input    [][]byte
	Rounds   int
	Fault    Fault
	Members  int           // 3
	Rate     int           // events a second over all producers; 0: as many as the group takes
	Profile  string        // timing of elections
	Dir      string        // directory to use; empty: a temporary one, removed if all went well
	Seed     uint64        // of the fault's moments; 0: random
	Patience time.Duration // how long any wait may go on without progress; 1 min
	// MaxUnavailable is the longest outage that is in order; 0: as long as the
	// fault's own limit, if it has one.
	MaxUnavailable time.Duration
	// AbortOnRed ends the drill after the first round in which something does
	// not hold.
	AbortOnRed bool
	// Progress hears of each phase as it happens.
	Progress func(format string, args ...any)
}

// Limits of a drill.
const (
	MaxRounds = 1000
	MaxEvents = 1_000_000 // made up for a round
	MaxInput  = 256 << 20 // bytes of input
	producers = 4
)

func (c *Config) complete() error {
	if _, err := daemons.New(c.Daemon); err != nil {
		return err
	}
	if c.Rounds < 1 || c.Rounds > MaxRounds {
		return fmt.Errorf("%d rounds: use 1 to %d", c.Rounds, MaxRounds)
	}
	if _, err := kind(c.Fault); err != nil {
		return err
	}
	if c.Rate < 0 {
		return errors.New("a rate is positive, or 0 for no limit")
	}
	if c.MaxUnavailable < 0 {
		return errors.New("the longest outage in order is positive, or 0 for no bound")
	}
	if c.Members == 0 {
		c.Members = 3
	}
	if c.Members < 3 || c.Members > chain.MaxMembers {
		return fmt.Errorf("%d members: use 3 to %d, fewer do not survive the loss of one", c.Members, chain.MaxMembers)
	}
	if least := c.Rounds * minRoundEvents; len(c.Input) < least {
		return fmt.Errorf("the input has %d events: %d rounds need at least %d, so that each fault hits a group at work", len(c.Input), c.Rounds, least)
	}
	if c.Seed == 0 {
		c.Seed = NewSeed()
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	if c.Profile == "" {
		c.Profile = "lan-fast"
	}
	if !slices.ContainsFunc(config.Profiles(), func(p config.Profile) bool { return p.Name == c.Profile }) {
		return fmt.Errorf("profile %.30q: use lan, lan-fast or wan", c.Profile)
	}
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	return nil
}

// NewSeed is a random one.
func NewSeed() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])>>1 | 1
}

// minRoundEvents is the least input for one round.
const minRoundEvents = 100

// Run rehearses. The report is whole if the error is nil; whether the group
// held is in the report. On an error the members' logs stay in the directory
// that it names.
func Run(ctx context.Context, cfg Config) (rep *Report, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	temporary := cfg.Dir == ""
	if temporary {
		if cfg.Dir, err = os.MkdirTemp("", "understudy-drill-"); err != nil {
			return nil, err
		}
	}
	k, err := kind(cfg.Fault)
	if err != nil {
		return nil, err
	}
	g, err := newGroup(&cfg, &k)
	if err != nil {
		if temporary { // nothing has run: there is nothing to learn from it
			os.RemoveAll(cfg.Dir)
		}
		return nil, err
	}
	defer func() {
		g.killAll()
		switch {
		case err != nil && ctx.Err() == nil:
			err = fmt.Errorf("%w (seed %d; data and logs are in %s)", err, cfg.Seed, cfg.Dir)
		case temporary && (err != nil || rep.Held()):
			os.RemoveAll(cfg.Dir)
		case err == nil:
			rep.Dir = cfg.Dir
		}
	}()
	d := &drill{cfg: &cfg, kind: &k, group: g, rng: mrand.New(mrand.NewPCG(cfg.Seed, 0)), report: &Report{
		Daemon: cfg.Daemon, Fault: string(cfg.Fault), Seed: cfg.Seed, Events: len(cfg.Input), Profile: cfg.Profile,
		Members: cfg.Members, Answers: make(map[string]string),
	}}
	for _, p := range config.Profiles() {
		if p.Name == cfg.Profile {
			d.timing = p.Timing
		}
	}
	if d.alone, err = newChecker(cfg.Daemon); err != nil {
		return nil, err
	}
	return d.run(ctx)
}

// drill is a rehearsal under way.
type drill struct {
	cfg    *Config
	kind   *Kind
	timing config.Timing
	group  *group
	load   *load
	alone  *checker
	rng    *mrand.Rand
	report *Report
}

func (d *drill) run(ctx context.Context) (*Report, error) {
	d.cfg.Progress("starting %d members of a %s group in %s", d.cfg.Members, d.cfg.Daemon, d.cfg.Dir)
	for _, m := range d.group.members {
		if err := m.Start(); err != nil {
			return nil, fmt.Errorf("member %s: %w", m.name, err)
		}
	}
	if err := d.group.healthy(ctx); err != nil {
		return nil, err
	}
	var err error
	if d.load, err = startLoad(ctx, d.cfg, d.group.urls()); err != nil {
		return nil, err
	}
	defer d.load.stop()
	start := time.Now()
	for i := range d.cfg.Rounds {
		r, err := d.round(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		d.report.Rounds = append(d.report.Rounds, *r)
		if d.cfg.AbortOnRed && !r.Held() {
			d.cfg.Progress("the drill ends after round %d, which did not hold", i+1)
			break
		}
	}
	d.report.Seconds = time.Since(start).Seconds()
	d.report.Acknowledged = d.load.count()
	d.report.sum()
	return d.report, nil
}
