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

// check compares what the group acknowledged, put out and holds with a run of
// the same events in one process, in the order of their receipts.
func (d *drill) check(ctx context.Context) error {
	rep := d.report
	order := make([]int, len(d.cfg.Input))
	for i := range order {
		order[i] = i
	}
	receipts := d.load.receipts
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(receipts[a].Seq, receipts[b].Seq) })
	rep.Acknowledged = d.load.acked
	fresh, err := daemons.New(d.cfg.Daemon)
	if err != nil {
		return err
	}
	alone := fresh()
	want, err := d.replay(alone, order)
	if err != nil {
		return err
	}
	if err := d.compareCounts(ctx, uint64(len(want))); err != nil {
		return err
	}
	for _, m := range d.group.members {
		if err := d.compareOutputs(ctx, m, want); err != nil {
			return err
		}
	}
	return d.compareState(ctx, alone)
}

// replay runs the events in one process and compares each receipt.
func (d *drill) replay(alone host.Daemon, order []int) ([]chain.Output, error) {
	rep, receipts := d.report, d.load.receipts
	var want []chain.Output
	last := make([]uint64, producers)
	var seq uint64
	for _, i := range order {
		r := &receipts[i]
		switch p := i % producers; {
		case r.Seq == seq:
			rep.fault(&rep.Lost, "line %d and another one have the same place, seq %d", i+1, r.Seq)
		case r.Sequence != uint64(i/producers)+1:
			rep.fault(&rep.Lost, "line %d has the receipt of event %d of its producer", i+1, r.Sequence)
		case r.Sequence != last[p]+1:
			rep.fault(&rep.Lost, "event %d of producer %d was applied after event %d", r.Sequence, p+1, last[p])
		default:
			last[p] = r.Sequence
		}
		seq = r.Seq
		outs, err := alone.Process(chain.Event{Producer: r.Producer, Sequence: r.Sequence, Seq: r.Seq, Term: r.Term, Payload: d.cfg.Input[i]})
		if (err != nil) != r.Rejected {
			rep.fault(&rep.Lost, "line %d was rejected in one run only: %q, %v", i+1, r.Reason, err)
		}
		if err != nil {
			outs = nil
			rep.Rejected++
		}
		if uint64(len(outs)) != r.Outputs || r.Outputs > 0 && r.FirstOutput != uint64(len(want))+1 {
			rep.fault(&rep.Lost, "line %d has outputs %d to %d, and should have %d from %d on", i+1, r.FirstOutput, r.FirstOutput+r.Outputs, len(outs), len(want)+1)
		}
		for _, b := range outs {
			want = append(want, chain.Output{Number: uint64(len(want)) + 1, Seq: r.Seq, Term: r.Term, Payload: b})
		}
	}
	return want, nil
}

// compareCounts finds events that nobody sent, or that were applied twice.
func (d *drill) compareCounts(ctx context.Context, outputs uint64) error {
	var st standby.Status
	err := d.group.await(ctx, "asking the active for its counts", func(ctx context.Context) (err error) {
		st, err = d.group.status(ctx)
		return err
	})
	if err != nil {
		return err
	}
	rep := d.report
	rep.count(uint64(rep.Acknowledged), st.Inputs, "events in the history")
	rep.count(outputs, st.Outputs, "outputs in the history")
	return nil
}

// compareOutputs reads every output from one member's disk.
func (d *drill) compareOutputs(ctx context.Context, m *member, want []chain.Output) error {
	if len(want) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Patience, fmt.Errorf("%s did not put out %d outputs within %v", m.name, len(want), d.cfg.Patience))
	defer cancel()
	n := 0
	for out, err := range m.client.Outputs(ctx, 1, true) {
		if err != nil {
			return fmt.Errorf("outputs of %s from %d on: %w", m.name, n+1, err)
		}
		if w := &want[n]; out.Number != w.Number || out.Seq != w.Seq || out.Term != w.Term || !bytes.Equal(out.Payload, w.Payload) {
			d.report.fault(&d.report.Lost, "output %d of %s is %.60q of seq %d, and should be %.60q of seq %d", out.Number, m.name, out.Payload, out.Seq, w.Payload, w.Seq)
		}
		if n++; n == len(want) {
			return nil
		}
	}
	return errors.New("the outputs ended early")
}

// compareState asks the active, and after a sync every member.
func (d *drill) compareState(ctx context.Context, alone host.Daemon) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Patience)
	defer cancel()
	c := d.group.client
	if err := d.group.await(ctx, "the last sync", func(ctx context.Context) error {
		_, err := c.Sync(ctx)
		return err
	}); err != nil {
		return err
	}
	d.report.Answers = make(map[string]string)
	for _, q := range finalQueries[d.cfg.Daemon] {
		want, err := alone.(host.Queryable).Query([]byte(q))
		if err != nil {
			return err
		}
		got, err := c.Query(ctx, []byte(q), false)
		if err != nil {
			return fmt.Errorf("asking the active for %q: %w", q, err)
		}
		d.compareAnswer("the active", q, got.Data, want)
		for _, m := range d.group.members {
			got, err := m.client.Query(ctx, []byte(q), true)
			if err != nil {
				return fmt.Errorf("asking %s for %q: %w", m.name, q, err)
			}
			d.compareAnswer(m.name, q, got.Data, want)
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

func (d *drill) compareAnswer(who, q string, got, want []byte) {
	if !bytes.Equal(got, want) {
		d.report.fault(&d.report.Lost, "%s answers %q with %.80q, one process with %.80q", who, q, got, want)
	}
}
