package drill

import (
	"context"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/continuity"
)

// Round is what one fault did.
type Round struct {
	Fault         Fault              `json:"fault"`
	Victim        string             `json:"victim"`
	Promoted      string             `json:"promoted"`
	Term          uint64             `json:"term"`
	UnavailableMS float64            `json:"unavailable_ms"` // last acknowledgement before to first after
	PhasesMS      map[string]float64 `json:"phases_ms"`
	Replayed      uint64             `json:"replayed"`
	Acknowledged  int                `json:"acknowledged"` // before the fault
	Proof         string             `json:"proof"`        // ok, or what does not hold
}

// round waits for a random moment, injects the fault, and sees the group healed.
func (d *drill) round(ctx context.Context, i int) (*Round, error) {
	if err := d.group.healthy(ctx); err != nil {
		return nil, err
	}
	from, to := i*len(d.cfg.Input)/d.cfg.Rounds, (i+1)*len(d.cfg.Input)/d.cfg.Rounds
	moment := from + int((0.1+0.5*d.rng.Float64())*float64(to-from))
	// The last lines are kept back until there is a new active: a fast group
	// must not run out of work before it shows that it serves again.
	d.load.allow(to - (to-from)/10)
	if err := d.load.until(ctx, "waiting for the moment of the fault", func() bool { return d.load.acked >= moment }); err != nil {
		return nil, err
	}
	st, err := d.group.status(ctx)
	if err != nil {
		return nil, err
	}
	victim, err := d.group.member(st.Member)
	if err != nil {
		return nil, err
	}
	head, err := victim.client.Head(ctx, 0)
	if err != nil {
		return nil, err
	}
	held, err := continuity.ParseHead(head, d.group.founding)
	if err != nil {
		return nil, err
	}
	r := &Round{Fault: d.cfg.Fault, Victim: victim.name, PhasesMS: make(map[string]float64)}
	l := d.load
	l.mu.Lock()
	l.gap = gap{term: st.Term, last: time.Now()}
	r.Acknowledged = l.acked
	l.mu.Unlock()
	if err := d.cfg.Fault.inject(ctx, victim, d.group.client); err != nil {
		return nil, err
	}
	d.cfg.Progress("round %d: %s %s in term %d after %d acknowledged", i+1, d.cfg.Fault, victim.name, st.Term, r.Acknowledged)
	promoted, err := d.group.promoted(ctx, st.Term, victim)
	if err != nil {
		return nil, err
	}
	l.allow(to)
	if err := l.until(ctx, "waiting for the first receipt after the fault", func() bool { return !l.gap.first.IsZero() }); err != nil {
		return nil, err
	}
	l.mu.Lock()
	r.UnavailableMS = float64(l.gap.first.Sub(l.gap.last).Microseconds()) / 1000
	l.mu.Unlock()
	if err := d.promotion(ctx, r, promoted); err != nil {
		return nil, err
	}
	d.cfg.Progress("round %d: %s serves in term %d, unavailable %.0f ms, %d replayed", i+1, r.Promoted, r.Term, r.UnavailableMS, r.Replayed)
	if err := d.cfg.Fault.heal(ctx, victim); err != nil {
		return nil, err
	}
	if err := d.group.healthy(ctx); err != nil {
		return nil, err
	}
	d.cfg.Progress("round %d: %s is back as a standby", i+1, victim.name)
	r.Proof = "ok"
	if err := d.prove(ctx, held, r); err != nil {
		r.Proof = err.Error()
	}
	d.cfg.Progress("round %d: continuity proof from size %d: %s", i+1, held.Size, r.Proof)
	return r, nil
}

// promotion fills in what the promoted member tells of its promotion.
func (d *drill) promotion(ctx context.Context, r *Round, promoted *member) error {
	return d.group.await(ctx, "reading the history", func(ctx context.Context) error {
		ps, err := promoted.client.History(ctx, 1)
		if err != nil {
			return err
		}
		if len(ps) == 0 || ps[0].To != promoted.name || len(ps[0].PhasesMillis) == 0 {
			return fmt.Errorf("%s does not tell of its promotion yet", promoted.name)
		}
		r.Promoted, r.Term, r.Replayed = promoted.name, ps[0].Term, ps[0].Replayed
		rest := r.UnavailableMS
		for name, ms := range ps[0].PhasesMillis {
			r.PhasesMS[name] = ms
			rest -= ms
		}
		r.PhasesMS["serve"] = max(0, rest) // until a producer had a receipt again
		return nil
	})
}

// prove fetches the proof across the failover and checks it as anybody could:
// from the head before the fault and the founding record alone.
func (d *drill) prove(ctx context.Context, held continuity.Held, r *Round) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	bundle, err := d.group.client.Prove(ctx, held.Size)
	if err != nil {
		return err
	}
	v, err := continuity.Verify(bundle, held, d.group.founding)
	if err != nil {
		return err
	}
	for _, t := range v.Handoffs {
		if t.Term == r.Term && t.To == r.Promoted {
			return nil
		}
	}
	return fmt.Errorf("the proof does not show the handoff to %s in term %d", r.Promoted, r.Term)
}
