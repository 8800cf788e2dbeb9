package drill

import (
	"context"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
)

// Round is what one fault did.
type Round struct {
	Fault         Fault              `json:"fault"`
	Victim        string             `json:"victim"`
	Promoted      string             `json:"promoted"` // empty: the role did not move
	Term          uint64             `json:"term"`
	UnavailableMS float64            `json:"unavailable_ms"` // last acknowledgement before to first after
	PhasesMS      map[string]float64 `json:"phases_ms"`
	Replayed      uint64             `json:"replayed"`
	Acknowledged  int                `json:"acknowledged"` // before the fault
	Proof         string             `json:"proof"`        // ok, or what does not hold
	Verdict
	Failure  string   `json:"failure,omitempty"` // what the group did not do in time
	Timeline []Moment `json:"timeline"`

	// For the picture: acknowledgements in each bucket of the round's time, and
	// when the producers were served again.
	acks     []int
	servedMS float64
}

// Moment is a point of a round's time.
type Moment struct {
	AtMS float64 `json:"at_ms"`
	What string  `json:"what"`
}

// Held says whether the group kept its promises in the round.
func (r *Round) Held() bool {
	return r.Lost == 0 && r.Duplicated == 0 && r.Proof == proofOK && r.Failure == ""
}

const proofOK = "ok"

// round waits for a random moment, has the fault play, sees the group healed,
// and compares what it acknowledged, put out and holds.
func (d *drill) round(ctx context.Context, i int) (*Round, error) {
	if err := d.group.healthy(ctx); err != nil {
		return nil, err
	}
	from, to := i*len(d.cfg.Input)/d.cfg.Rounds, (i+1)*len(d.cfg.Input)/d.cfg.Rounds
	s := &stage{drill: d, number: i, from: from, to: to, timing: d.timing, max: d.cfg.MaxUnavailable,
		r: &Round{Fault: d.kind.Fault, PhasesMS: make(map[string]float64)}}
	d.load.begin()
	part := 0.1 + 0.4*d.rng.Float64()
	moment := s.line(part)
	if d.kind.lasts {
		s.release(part + 0.1) // the script has the others sent as it goes on
	} else {
		s.release(0.9)
	}
	if err := d.load.until(ctx, "waiting for the moment of the fault", func() bool { return d.load.acked >= moment }); err != nil {
		return nil, err
	}
	var held continuity.Held
	if err := d.group.await(ctx, "asking the active where it stands", func(ctx context.Context) (err error) {
		held, err = s.before(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	r := s.r
	d.cfg.Progress("round %d: %s %s in term %d after %d acknowledged", i+1, r.Fault, s.active.name, s.term, r.Acknowledged)
	err := d.kind.run(ctx, s)
	if err == nil {
		err = d.group.healthy(ctx)
	}
	if err == nil && !s.tookOver {
		err = s.moved(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		r.Failure = err.Error()
		s.note("the group did not hold: %v", err)
		if err := d.rescue(ctx); err != nil {
			return nil, fmt.Errorf("%s; and then: %w", r.Failure, err)
		}
	}
	s.note("all members are well")
	if err := s.work(ctx, 1); err != nil {
		return nil, err
	}
	s.after()
	if err := d.check(ctx, s); err != nil {
		return nil, err
	}
	if err := r.proven(ctx, s.prove(ctx, held)); err != nil {
		return nil, err
	}
	s.note("lost %d, duplicated %d; continuity proof from size %d: %s", r.Lost, r.Duplicated, held.Size, r.Proof)
	return r, nil
}

// proven takes down what a proof came to. An interruption says nothing of it.
func (r *Round) proven(ctx context.Context, err error) error {
	r.Proof = proofOK
	if err != nil {
		r.Proof = err.Error()
	}
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// before takes down how things are at the fault.
func (s *stage) before(ctx context.Context) (continuity.Held, error) {
	st, err := s.group.status(ctx)
	if err != nil {
		return continuity.Held{}, err
	}
	if s.active, err = s.group.member(st.Member); err != nil {
		return continuity.Held{}, err
	}
	s.victim, s.term = s.active, st.Term
	head, err := s.active.client.Head(ctx, 0)
	if err != nil {
		return continuity.Held{}, err
	}
	s.r.Acknowledged = s.load.mark(st.Term)
	return continuity.ParseHead(head, s.group.founding)
}

// after takes down how long producers waited.
func (s *stage) after() {
	r, l := s.r, s.load
	l.mu.Lock()
	defer l.mu.Unlock()
	r.acks = append([]int(nil), l.acks...)
	r.Victim = s.victim.name
	if !s.tookOver {
		r.UnavailableMS = millis(l.gap.longest)
	}
	if r.Failure == "" {
		r.Failure = late(s.max, l.gap, r.UnavailableMS)
	}
}

// late says what is wrong with the time without service. A takeover's outage
// may be followed by another one, which is not in its phases.
func late(most time.Duration, g gap, takeover float64) string {
	worst := max(takeover, millis(g.longest))
	if most == 0 || worst <= millis(most) {
		return ""
	}
	return fmt.Sprintf("unavailable for %.0f ms, at most %v are in order", worst, most)
}

// rescue ends every fault and brings every member back, so that what the group
// holds after a failure can still be compared.
func (d *drill) rescue(ctx context.Context) error {
	d.group.mend()
	ctx, cancel := context.WithTimeoutCause(ctx, 2*d.cfg.Patience, fmt.Errorf("the group does not recover"))
	defer cancel()
	return d.group.revive(ctx)
}

// prove fetches the victim's proof across the fault and checks it as anybody could:
// from the head before the fault and the founding record alone.
func (s *stage) prove(ctx context.Context, held continuity.Held) error {
	r := s.r
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Patience)
	defer cancel()
	bundle, err := s.victim.client.Prove(ctx, held.Size)
	if err != nil {
		return err
	}
	return provesHandoff(bundle, held, s.group.founding, r)
}

// provesHandoff checks a proof, and that it shows the round's handoff.
func provesHandoff(bundle []byte, held continuity.Held, f *chain.Founding, r *Round) error {
	v, err := continuity.Verify(bundle, held, f)
	if err != nil {
		return err
	}
	if r.Promoted == "" {
		return nil
	}
	for _, t := range v.Handoffs {
		if t.Term == r.Term && t.To == r.Promoted {
			return nil
		}
	}
	return fmt.Errorf("the proof does not show the handoff to %s in term %d", r.Promoted, r.Term)
}

const bucket = 50 * time.Millisecond // of a round's picture
