package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// LiveConfig says what to rehearse with a group in use.
type LiveConfig struct {
	// Client makes a client of the group that sends as a producer.
	Client         func(client.Config) (*client.Client, error)
	Fault          Fault
	Rounds         int
	Rate           int      // events a second; 20
	Input          [][]byte // events, sent in a circle; none: ones that the built-in daemons reject
	MaxUnavailable time.Duration
	AbortOnRed     bool
	Patience       time.Duration // how long any wait may take; 1 min
	Timeout        time.Duration // … for the group to answer at all; 10 s
	Progress       func(format string, args ...any)
}

// rejected is an event that these daemons record and reject: it changes nothing.
var rejected = map[string]string{"ledger": "understudy drill", "kv": "understudy drill"}

// holdBack is how long a member that was asked to step down does not take the
// role back.
const holdBack = 10 * time.Second

// CheckLive refuses what cannot be done to a group from outside.
func CheckLive(f Fault) error {
	k, err := kind(f)
	switch {
	case err != nil:
		return err
	case k.Harmless():
		return nil
	case f == Term:
		return &standby.RefusedError{Reason: "term cannot be done to a group from outside: it takes a signal on the active's own machine. Stop the member there, or rehearse it with a throw-away group"}
	}
	return &standby.RefusedError{Reason: fmt.Sprintf("%s is not done to a group in use (%s; it needs %s): rehearse it with a throw-away group", f, k.Does, k.Needs())}
}

// Check completes the configuration, or says what makes no sense in it.
func (c *LiveConfig) Check() error {
	if err := CheckLive(c.Fault); err != nil {
		return err
	}
	if c.Rounds < 1 || c.Rounds > MaxRounds {
		return fmt.Errorf("%d rounds: use 1 to %d", c.Rounds, MaxRounds)
	}
	if c.MaxUnavailable < 0 {
		return errors.New("the longest outage in order is positive, or 0 for no bound")
	}
	if c.Rate == 0 {
		c.Rate = 20
	}
	if c.Rate < 1 || c.Rate > 10_000 {
		return fmt.Errorf("%d events a second: use 1 to 10000 with a group in use", c.Rate)
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return nil
}

// RunLive rehearses with a group in use. It reports what can be checked from
// outside: that every one of its own events has one receipt, in order; that the
// outputs told in them are those that the group puts out; that the group
// counts as many events of the producer as were sent; and the proof.
func RunLive(ctx context.Context, cfg LiveConfig) (*Report, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	l := &live{cfg: &cfg, report: &Report{Fault: string(cfg.Fault), Rounds: []Round{}}}
	var err error
	if l.ask, err = cfg.Client(client.Config{}); err != nil {
		return nil, err
	}
	defer l.ask.Close(context.WithoutCancel(ctx))
	return l.run(ctx)
}

// live is a rehearsal with a group in use under way.
type live struct {
	cfg      *LiveConfig
	ask      *client.Client
	load     *trickle
	founding *chain.Founding
	report   *Report
}

func (l *live) run(ctx context.Context) (*Report, error) {
	st, err := l.preflight(ctx)
	if err != nil {
		return nil, err
	}
	l.report.Daemon, l.report.Members, l.report.Profile = st.Daemon, len(st.Members), "its own"
	if len(l.cfg.Input) == 0 {
		if rejected[st.Daemon] == "" {
			return nil, fmt.Errorf("daemon %s: name a file of events that may be sent to it with --input", st.Daemon)
		}
		l.cfg.Input = [][]byte{[]byte(rejected[st.Daemon])}
	}
	b, err := l.ask.Founding(ctx)
	if err != nil {
		return nil, err
	}
	if l.founding, err = chain.ParseFounding(b); err != nil {
		return nil, err
	}
	if l.load, err = startTrickle(ctx, l.cfg); err != nil {
		return nil, err
	}
	defer l.load.stop()
	l.cfg.Progress("group %s (%s): producer %s sends %d events a second", st.Group, st.Origin.Short(), l.load.name, l.cfg.Rate)
	start := time.Now()
	for i := range l.cfg.Rounds {
		r, err := l.round(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		if l.report.Rounds = append(l.report.Rounds, *r); l.cfg.AbortOnRed && !r.Held() {
			break
		}
	}
	l.report.Seconds = time.Since(start).Seconds()
	l.report.Acknowledged, l.report.Rejected = l.load.sum()
	l.report.Events = l.report.Acknowledged
	l.report.sum()
	return l.report, nil
}

// preflight refuses a group that a handover might leave without an active.
func (l *live) preflight(ctx context.Context) (standby.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.cfg.Timeout, fmt.Errorf("no answer within %v", l.cfg.Timeout))
	defer cancel()
	st, err := l.ask.Status(ctx)
	if err != nil {
		return st, err
	}
	if st, err = l.whole(ctx); err != nil {
		return st, &standby.RefusedError{Reason: "the group is not whole, and a drill would risk an outage: " + err.Error()}
	}
	return st, nil
}

// whole says why not every member takes part.
func (l *live) whole(ctx context.Context) (standby.Status, error) {
	st, err := l.ask.Status(ctx)
	switch {
	case err != nil:
		return st, err
	case st.Active == "":
		return st, errors.New("no active is known")
	case st.Quorum.Healthy < st.Quorum.Voters:
		return st, fmt.Errorf("%d of %d voters answer", st.Quorum.Healthy, st.Quorum.Voters)
	}
	heir := false
	for _, m := range st.Members {
		if m.Role != standby.RoleActive && m.Role != standby.RoleStandby {
			return st, fmt.Errorf("%s is %s: %s", m.Name, m.Role, m.Reason)
		}
		heir = heir || m.Role == standby.RoleStandby && m.Eligible
	}
	if !heir {
		return st, errors.New("no standby may take the role now: see understudy status")
	}
	return st, nil
}

func (l *live) round(ctx context.Context, i int) (*Round, error) {
	var st standby.Status
	if err := await(ctx, l.cfg.Patience, "waiting for a whole group", func(ctx context.Context) (err error) {
		st, err = l.whole(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	held, err := l.head(ctx)
	if err != nil {
		return nil, err
	}
	r := &Round{Fault: l.cfg.Fault, Victim: st.Active, PhasesMS: make(map[string]float64)}
	began := time.Now()
	note := func(format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		r.Timeline = append(r.Timeline, Moment{millis(time.Since(began)), what})
		l.cfg.Progress("round %d: %s", i+1, what)
	}
	if err := l.load.until(ctx, func() bool { return l.load.acked > 0 }); err != nil {
		return nil, err
	}
	r.Acknowledged = l.load.mark(st.Term)
	note("%s of %s in term %d after %d acknowledged", r.Fault, st.Active, st.Term, r.Acknowledged)
	if err := l.play(ctx); err != nil {
		return nil, err
	}
	if err := l.load.until(ctx, func() bool { return l.load.gap.over }); err != nil {
		return nil, err
	}
	out := l.load.outage()
	r.UnavailableMS, r.servedMS = out.ms(), millis(out.first.Sub(began))
	if err := await(ctx, l.cfg.Patience, "waiting for all members after the handover", func(ctx context.Context) error {
		after, err := l.whole(ctx)
		if err == nil && after.Term <= st.Term {
			err = fmt.Errorf("%s knows of no new active", after.Member)
		}
		r.Promoted, r.Term = after.Active, after.Term
		return err
	}); err != nil {
		return nil, err
	}
	r.Replayed = l.replayed(ctx, r.Term)
	note("%s serves in term %d, unavailable %.0f ms", r.Promoted, r.Term, r.UnavailableMS)
	if err := l.compare(ctx, r); err != nil { // which waits for every receipt
		return nil, err
	}
	r.Failure = late(l.cfg.MaxUnavailable, l.load.outage(), r.UnavailableMS)
	if err := r.proven(ctx, l.prove(ctx, held, r)); err != nil {
		return nil, err
	}
	note("lost %d, duplicated %d; continuity proof from size %d: %s", r.Lost, r.Duplicated, held.Size, r.Proof)
	return r, nil
}

// bounded is a context for questions to a group that may answer nothing any more.
func (l *live) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, l.cfg.Patience, errPatience)
}

// replayed is how many links the promotion of a term replayed, if it is told.
func (l *live) replayed(ctx context.Context, term uint64) uint64 {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	if ps, err := l.ask.History(ctx, 1); err == nil && len(ps) > 0 && ps[0].Term == term {
		return ps[0].Replayed
	}
	return 0
}

// head is what the history is to be proven from.
func (l *live) head(ctx context.Context) (continuity.Held, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	head, err := l.ask.Head(ctx, 0)
	if err != nil {
		return continuity.Held{}, err
	}
	return continuity.ParseHead(head, l.founding)
}

func (l *live) play(ctx context.Context) error {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	var err error
	if l.cfg.Fault == StepDown {
		_, err = l.ask.StepDown(ctx, holdBack)
	} else {
		_, err = l.ask.Switchover(ctx, "")
	}
	if errors.Is(err, standby.ErrUncertain) {
		return nil // what is not known shows in what follows
	}
	return err
}

// compare looks at the drill's own events from outside.
func (l *live) compare(ctx context.Context, r *Round) error {
	v, want, outs, err := l.load.pause(ctx)
	if err != nil {
		return err
	}
	defer l.load.resume()
	r.Verdict = v
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	last, _, err := l.ask.Session(ctx, l.load.name)
	if err != nil {
		return err
	}
	r.count(want, last, "events of this producer")
	for _, w := range outs {
		for got, err := range l.ask.Outputs(ctx, w.Number, true) {
			if errors.Is(err, errPatience) {
				r.fault(&r.Lost, "output %d, which a receipt told, is not put out within %v", w.Number, l.cfg.Patience)
				return nil // nor are those after it
			}
			if err != nil {
				return fmt.Errorf("output %d: %w", w.Number, err)
			}
			if got.Seq != w.Seq || got.Term != w.Term || string(got.Payload) != string(w.Payload) {
				r.fault(&r.Lost, "output %d is %.60q of seq %d, and its receipt told %.60q of seq %d", w.Number, got.Payload, got.Seq, w.Payload, w.Seq)
			}
			break
		}
	}
	return nil
}

func (l *live) prove(ctx context.Context, held continuity.Held, r *Round) error {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	bundle, err := l.ask.Prove(ctx, held.Size)
	if err != nil {
		return err
	}
	return provesHandoff(bundle, held, l.founding, r)
}
