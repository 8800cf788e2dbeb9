package drill

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons"
	"github.com/understudy-ha/understudy/standby"
)

// finalQueries ask each daemon for all of its state; the last answer is kept whole.
var finalQueries = map[string][]string{
	"ledger":    {"total", "accounts"},
	"kv":        {"list"},
	"wordcount": {"totals", "words"},
}

// checker is the same input in one process, as far as it was compared.
type checker struct {
	alone   host.Daemon
	seq     uint64            // of the newest receipt
	last    [producers]uint64 // newest event of each producer
	outputs []chain.Output    // that there should be
	counts  [2]uint64         // events and outputs that the history should have, as last seen
}

func newChecker(daemon string) (*checker, error) {
	fresh, err := daemons.New(daemon)
	if err != nil {
		return nil, err
	}
	return &checker{alone: fresh()}, nil
}

// check compares what the group acknowledged, put out and holds of a round with
// a run of the same events in one process, in the order of their receipts.
func (d *drill) check(ctx context.Context, s *stage) error {
	order := make([]int, s.to-s.from)
	for i := range order {
		order[i] = s.from + i
	}
	receipts := d.load.receipts
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(receipts[a].Seq, receipts[b].Seq) })
	v, before, end := &s.r.Verdict, len(d.alone.outputs), s.to == len(d.cfg.Input)
	d.replay(v, order)
	all := d.alone.outputs
	if err := d.compareCounts(ctx, v, uint64(len(order)), uint64(len(all)-before)); err != nil {
		return err
	}
	for _, m := range d.group.members {
		want := all[before:]
		if end || m == s.victim { // the others have shown theirs of earlier rounds
			want = all
		}
		if err := d.compareOutputs(ctx, v, m, want); err != nil {
			return err
		}
	}
	return d.compareState(ctx, v, end)
}

// replay runs the events in one process and compares each receipt.
func (d *drill) replay(v *Verdict, order []int) {
	c, receipts := d.alone, d.load.receipts
	for _, i := range order {
		r := &receipts[i]
		switch p := i % producers; {
		case r.Seq == c.seq:
			v.fault(&v.Lost, "line %d and another one have the same place, seq %d", i+1, r.Seq)
		case r.Seq < c.seq:
			v.fault(&v.Lost, "line %d has the place seq %d among events that were acknowledged before it was sent", i+1, r.Seq)
		case r.Sequence != uint64(i/producers)+1:
			v.fault(&v.Lost, "line %d has the receipt of event %d of its producer", i+1, r.Sequence)
		case r.Sequence != c.last[p]+1:
			v.fault(&v.Lost, "event %d of producer %d was applied after event %d", r.Sequence, p+1, c.last[p])
		default:
			c.last[p] = r.Sequence
		}
		c.seq = max(c.seq, r.Seq)
		outs, err := c.alone.Process(chain.Event{Producer: r.Producer, Sequence: r.Sequence, Seq: r.Seq, Term: r.Term, Payload: d.cfg.Input[i]})
		if (err != nil) != r.Rejected {
			v.fault(&v.Lost, "line %d was rejected in one run only: %q, %v", i+1, r.Reason, err)
		}
		if err != nil {
			outs = nil
			d.report.Rejected++
		}
		next := uint64(len(c.outputs)) + 1
		if uint64(len(outs)) != r.Outputs || r.Outputs > 0 && r.FirstOutput != next {
			v.fault(&v.Lost, "line %d has outputs %d to %d, and should have %d from %d on", i+1, r.FirstOutput, r.FirstOutput+r.Outputs, len(outs), next)
		}
		for _, b := range outs {
			c.outputs = append(c.outputs, chain.Output{Number: uint64(len(c.outputs)) + 1, Seq: r.Seq, Term: r.Term, Payload: b})
		}
	}
}

// compareCounts finds events that nobody sent, or that were applied twice.
func (d *drill) compareCounts(ctx context.Context, v *Verdict, events, outputs uint64) error {
	var st standby.Status
	err := d.group.await(ctx, "asking the active for its counts", func(ctx context.Context) (err error) {
		st, err = d.group.status(ctx)
		return err
	})
	if err != nil {
		return err
	}
	c := &d.alone.counts
	v.count(c[0]+events, st.Inputs, "events in the history")
	v.count(c[1]+outputs, st.Outputs, "outputs in the history")
	*c = [2]uint64{st.Inputs, st.Outputs} // the next round is not blamed for this one's
	return nil
}

// errPatience: what was to come had the time there is, and did not.
var errPatience = errors.New("not in time")

// compareOutputs reads outputs from one member's disk. What does not come is lost.
func (d *drill) compareOutputs(ctx context.Context, v *Verdict, m *member, want []chain.Output) error {
	if len(want) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Patience, errPatience)
	defer cancel()
	n := 0
	for out, err := range m.client.Outputs(ctx, want[0].Number, true) {
		if errors.Is(err, errPatience) {
			v.fault(&v.Lost, "%s puts out %d of %d outputs from %d on, and no more within %v", m.name, n, len(want), want[0].Number, d.cfg.Patience)
			v.Lost += uint64(len(want) - n - 1)
			return nil
		}
		if err != nil {
			return fmt.Errorf("outputs of %s from %d on: %w", m.name, want[0].Number+uint64(n), err)
		}
		if w := &want[n]; out.Number != w.Number || out.Seq != w.Seq || out.Term != w.Term || !bytes.Equal(out.Payload, w.Payload) {
			v.fault(&v.Lost, "output %d of %s is %.60q of seq %d, and should be %.60q of seq %d", out.Number, m.name, out.Payload, out.Seq, w.Payload, w.Seq)
		}
		if n++; n == len(want) {
			return nil
		}
	}
	return errors.New("the outputs ended early")
}

// compareState asks the active, and at the end, after a sync, every member.
func (d *drill) compareState(ctx context.Context, v *Verdict, end bool) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	c := d.group.client
	if end {
		d.cfg.Progress("all %d events are acknowledged; comparing every member with a run in one process", len(d.cfg.Input))
		if err := d.group.sync(ctx, "the last sync"); err != nil {
			return err
		}
	}
	for _, q := range finalQueries[d.cfg.Daemon] {
		want, err := d.alone.alone.(host.Queryable).Query([]byte(q))
		if err != nil {
			return err
		}
		got, err := c.Query(ctx, []byte(q), false)
		if err != nil {
			return fmt.Errorf("asking the active for %q: %w", q, err)
		}
		compareAnswer(v, "the active", q, got.Data, want)
		if !end {
			continue
		}
		for _, m := range d.group.members {
			got, err := m.client.Query(ctx, []byte(q), true)
			if err != nil {
				return fmt.Errorf("asking %s for %q: %w", m.name, q, err)
			}
			compareAnswer(v, m.name, q, got.Data, want)
		}
		d.report.State = want
		if len(want) <= 200 {
			d.report.Answers[q] = string(bytes.TrimSpace(want))
		} else {
			d.report.Answers[q] = fmt.Sprintf("%d bytes, sha256 %x", len(want), sha256.Sum256(want))
		}
	}
	return nil
}

func compareAnswer(v *Verdict, who, q string, got, want []byte) {
	if !bytes.Equal(got, want) {
		v.fault(&v.Lost, "%s answers %q with %.80q, one process with %.80q", who, q, got, want)
	}
}
