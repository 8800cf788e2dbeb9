package integration

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons"
)

// whole is a query for all of a daemon's state.
var whole = map[string]string{"ledger": "accounts", "kv": "list", "wordcount": "words"}

// finish has the rest of the load sent. Then it runs all that was
// acknowledged, and what the test sent by itself, in one process, in the order
// of the receipts, and compares: the receipts, the number of events and
// outputs in the history, every output as each member keeps it, and the state
// as each member has it. Nothing may be lost, doubled or made up.
func (s *stage) finish(others ...sent) {
	s.t.Helper()
	s.allow(len(s.load.events))
	for acked := -1; acked < len(s.load.events); { // as long as there is progress
		next := min(max(acked, 0)+2000, len(s.load.events))
		s.untilAcked(next)
		acked = s.acked()
	}
	s.healthy()
	all := append(slices.Clone(s.load.events), others...)
	r := s.referee()
	outputs := r.run(all)
	s.counts(r)
	for _, m := range s.members {
		s.keeps(m, outputs)
	}
	s.answers(r.alone)
}

// counts compares how many events and outputs the history has with how many
// it should have.
func (s *stage) counts(r *referee) {
	s.t.Helper()
	_, st := s.active()
	require.EqualValues(s.t, r.events, st.Inputs, "events in the history, and acknowledged")
	require.EqualValues(s.t, r.outputs, st.Outputs, "outputs in the history, and as they should be")
}

// referee is the same events in one process, as far as they were compared.
type referee struct {
	t               *testing.T
	alone           host.Daemon
	last            map[string]uint64 // newest event of each producer
	seq, term       uint64            // of the newest receipt
	events, outputs uint64
}

func (s *stage) referee() *referee {
	s.t.Helper()
	fresh, err := daemons.New(s.daemon)
	require.NoError(s.t, err)
	return &referee{t: s.t, alone: fresh(), last: make(map[string]uint64)}
}

// run takes all events that were acknowledged since the last time, compares
// their receipts, and gives the outputs that they should have.
func (r *referee) run(all []sent) []chain.Output {
	r.t.Helper()
	slices.SortStableFunc(all, func(a, b sent) int { return cmp.Compare(a.receipt.Seq, b.receipt.Seq) })
	var outputs []chain.Output
	for i := range all {
		ev, rec := &all[i].event, &all[i].receipt
		what := fmt.Sprintf("event %d of %s", ev.Sequence, ev.Producer)
		require.Greater(r.t, rec.Seq, r.seq, "%s shares its place with another", what)
		require.GreaterOrEqual(r.t, rec.Term, r.term, "%s has an older term than the one before it", what)
		require.Equal(r.t, what, fmt.Sprintf("event %d of %s", rec.Sequence, rec.Producer), "the receipt is for another event")
		require.Equal(r.t, r.last[ev.Producer]+1, ev.Sequence, "%s is out of its producer's order", what)
		r.last[ev.Producer], r.seq, r.term = ev.Sequence, rec.Seq, rec.Term
		r.events++
		if rec.Refused {
			require.Contains(r.t, deadlyEvents, string(ev.Payload), what)
			require.Zero(r.t, rec.Outputs, what)
			continue
		}
		outs, err := r.alone.Process(chain.Event{Producer: ev.Producer, Sequence: ev.Sequence, Seq: rec.Seq, Term: rec.Term, Payload: ev.Payload})
		require.Equal(r.t, err != nil, rec.Rejected, "%s: %v, and %q", what, err, rec.Reason)
		if err != nil {
			outs = nil
		}
		require.EqualValues(r.t, len(outs), rec.Outputs, what)
		if len(outs) > 0 {
			require.EqualValues(r.t, r.outputs+1, rec.FirstOutput, what)
		}
		for _, b := range outs {
			r.outputs++
			outputs = append(outputs, chain.Output{Number: r.outputs, Seq: rec.Seq, Term: rec.Term, Payload: b})
		}
	}
	return outputs
}

// keeps sees that a member has exactly these outputs, from the first of them
// on, on its disk.
func (s *stage) keeps(m *member, want []chain.Output) {
	s.t.Helper()
	if len(want) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	n := 0
	for out, err := range m.client.Outputs(ctx, want[0].Number, true) {
		require.NoErrorf(s.t, err, "outputs of %s after the first %d", m.name, n)
		require.Equal(s.t, want[n], out, "output of %s", m.name)
		if n++; n == len(want) {
			return
		}
	}
	require.Len(s.t, want, n, "outputs of %s", m.name)
}

// answers compares the state that the active and, after a sync, every member
// has with that of one process.
func (s *stage) answers(alone host.Daemon) {
	s.t.Helper()
	s.await("the last sync", func(ctx context.Context) error {
		r, err := s.client.Sync(ctx)
		for name, how := range r.Members {
			if how != "source" && how != "synced" {
				err = fmt.Errorf("%s: %s", name, how)
			}
		}
		return err
	})
	s.activeAnswers(alone)
	want := s.state(alone)
	for _, m := range s.members {
		got, err := m.client.Query(s.ctx, []byte(whole[s.daemon]), true)
		require.NoError(s.t, err)
		s.same(m.name, want, got.Data)
	}
}

// activeAnswers compares the state that the active has with that of one process.
func (s *stage) activeAnswers(alone host.Daemon) {
	s.t.Helper()
	got, err := s.client.Query(s.ctx, []byte(whole[s.daemon]), false)
	require.NoError(s.t, err)
	s.same("the active", s.state(alone), got.Data)
}

func (s *stage) state(alone host.Daemon) []byte {
	s.t.Helper()
	want, err := alone.(host.Queryable).Query([]byte(whole[s.daemon]))
	require.NoError(s.t, err)
	return want
}

// same compares states and shows where they differ.
func (s *stage) same(who string, want, got []byte) {
	s.t.Helper()
	a, b := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range min(len(a), len(b)) {
		require.Equal(s.t, a[i], b[i], "line %d of the state of %s", i+1, who)
	}
	require.Len(s.t, b, len(a), "lines of the state of %s", who)
}
