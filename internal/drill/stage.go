package drill

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/standby"
)

// stage is one round under way: what a fault's script acts on.
type stage struct {
	*drill
	number   int // of the round, from 0
	from, to int // lines of the input that the round sends
	active   *member
	term     uint64 // of the active at the fault
	victim   *member
	timing   config.Timing
	max      time.Duration // longest outage that is in order, 0: not bounded
	tookOver bool
	out      gap // the outage, once it is over
	r        *Round
}

// note says what happens, now and in the report's timeline.
func (s *stage) note(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.r.Timeline = append(s.r.Timeline, Moment{AtMS: millis(time.Since(s.load.began())), What: what})
	s.cfg.Progress("round %d: %s", s.number+1, what)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// limit says how long the outage may last, unless the user has said it.
func (s *stage) limit(d time.Duration) {
	if s.max == 0 {
		s.max = d
	}
}

// release lets the producers send up to a part of the round's lines. A fast
// group must not run out of work before it shows that it serves again.
func (s *stage) release(part float64) { s.load.allow(s.line(part), 0) }

// spread lets them send up to a part of the round's lines evenly over a time:
// for faults that last.
func (s *stage) spread(part float64, d time.Duration) { s.load.allow(s.line(part), d) }

func (s *stage) line(part float64) int { return s.from + int(part*float64(s.to-s.from)) }

// work releases a part of the lines and waits for all its receipts.
func (s *stage) work(ctx context.Context, part float64) error {
	s.release(part)
	return s.load.until(ctx, "waiting for receipts", func() bool { return s.load.acked >= s.line(part) })
}

// standby is any member that is not active.
func (s *stage) standby() *member {
	for {
		if m := s.group.members[s.rng.IntN(len(s.group.members))]; m != s.active {
			return m
		}
	}
}

// takeover waits until another member than the active of before serves
// producers, and notes how it came to that.
func (s *stage) takeover(ctx context.Context) error { return s.takeoverBy(ctx, s.active) }

// takeoverBy waits for an activation, of any member but one.
func (s *stage) takeoverBy(ctx context.Context, not *member) error {
	promoted, err := s.group.promoted(ctx, s.term, not)
	if err != nil {
		return err
	}
	s.release(1)
	if err := s.load.until(ctx, "waiting for the first receipt after the fault", func() bool { return s.load.gap.over }); err != nil {
		return err
	}
	s.tookOver = true
	s.load.mu.Lock()
	s.out = s.load.gap
	s.r.UnavailableMS, s.r.servedMS = s.out.ms(), millis(s.out.first.Sub(s.load.base))
	s.load.mu.Unlock()
	if err := s.promotion(ctx, promoted); err != nil {
		return err
	}
	s.note("%s serves in term %d, unavailable %.0f ms, %d replayed", s.r.Promoted, s.r.Term, s.r.UnavailableMS, s.r.Replayed)
	return nil
}

// promotion fills in what the promoted member tells of its promotion.
func (s *stage) promotion(ctx context.Context, promoted *member) error {
	return s.group.await(ctx, "reading the history", func(ctx context.Context) error {
		ps, err := promoted.client.History(ctx, 1)
		if err != nil {
			return err
		}
		if len(ps) == 0 || ps[0].To != promoted.name || len(ps[0].PhasesMillis) == 0 {
			return fmt.Errorf("%s does not tell of its promotion yet", promoted.name)
		}
		r := s.r
		r.Promoted, r.Term, r.Replayed = promoted.name, ps[0].Term, ps[0].Replayed
		r.PhasesMS = phasesOf(&ps[0], s.out)
		return nil
	})
}

// phasesOf divides an outage. The promoted member knows its own phases. What is
// left is before them (detect) or after them (serve: until a producer had a
// receipt again); the handoff's time tells, as all clocks here are one.
func phasesOf(p *standby.Promotion, out gap) map[string]float64 {
	phases := maps.Clone(p.PhasesMillis)
	rest := out.ms()
	for _, ms := range phases {
		rest -= ms
	}
	if p.Time.After(out.last) && p.Time.Before(out.first) {
		serve := millis(out.first.Sub(p.Time)) - phases[standby.PhaseFence] - phases[standby.PhaseActive]
		serve = min(max(0, serve), max(0, rest+phases["detect"]))
		phases["detect"] = max(0, rest+phases["detect"]-serve)
		phases["serve"] = serve
	} else {
		phases["serve"] = max(0, rest)
	}
	return phases
}

// moved notes who is active after a fault that may move the role more than once.
func (s *stage) moved(ctx context.Context) error {
	return s.group.await(ctx, "asking who is active", func(ctx context.Context) error {
		st, err := s.group.status(ctx)
		if err == nil && st.Term > s.term {
			s.r.Promoted, s.r.Term = st.Member, st.Term
		}
		return err
	})
}
