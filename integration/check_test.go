package integration

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

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
	slices.SortStableFunc(all, func(a, b sent) int { return cmp.Compare(a.receipt.Seq, b.receipt.Seq) })
	alone, outputs := s.alone(all)
	_, st := s.active()
	require.EqualValues(s.t, len(all), st.Inputs, "events in the history, and acknowledged")
	require.EqualValues(s.t, len(outputs), st.Outputs, "outputs in the history, and as they should be")
	for _, m := range s.members {
		s.keeps(m, outputs)
	}
	s.answers(alone)
}

// alone runs events in one process and compares their receipts.
func (s *stage) alone(all []sent) (host.Daemon, []chain.Output) {
	s.t.Helper()
	fresh, err := daemons.New(s.daemon)
	require.NoError(s.t, err)
	d := fresh()
	var outputs []chain.Output
	last, seq, term := make(map[string]uint64), uint64(0), uint64(0)
	for i := range all {
		ev, r := &all[i].event, &all[i].receipt
		what := fmt.Sprintf("event %d of %s", ev.Sequence, ev.Producer)
		require.Greater(s.t, r.Seq, seq, "%s shares its place with another", what)
		require.GreaterOrEqual(s.t, r.Term, term, "%s has an older term than the one before it", what)
		require.Equal(s.t, what, fmt.Sprintf("event %d of %s", r.Sequence, r.Producer), "the receipt is for another event")
		require.Equal(s.t, last[ev.Producer]+1, ev.Sequence, "%s is out of its producer's order", what)
		last[ev.Producer], seq, term = ev.Sequence, r.Seq, r.Term
		outs, err := d.Process(chain.Event{Producer: ev.Producer, Sequence: ev.Sequence, Seq: r.Seq, Term: r.Term, Payload: ev.Payload})
		require.Equal(s.t, err != nil, r.Rejected, "%s: %v, and %q", what, err, r.Reason)
		if err != nil {
			outs = nil
		}
		require.EqualValues(s.t, len(outs), r.Outputs, what)
		if len(outs) > 0 {
			require.EqualValues(s.t, len(outputs)+1, r.FirstOutput, what)
		}
		for _, b := range outs {
			outputs = append(outputs, chain.Output{Number: uint64(len(outputs)) + 1, Seq: r.Seq, Term: r.Term, Payload: b})
		}
	}
	return d, outputs
}

// keeps sees that a member has exactly these outputs on its disk.
func (s *stage) keeps(m *member, want []chain.Output) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	n := 0
	for out, err := range m.client.Outputs(ctx, 1, true) {
		require.NoErrorf(s.t, err, "outputs of %s from %d on", m.name, n+1)
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
	want, err := alone.(host.Queryable).Query([]byte(whole[s.daemon]))
	require.NoError(s.t, err)
	got, err := s.client.Query(s.ctx, []byte(whole[s.daemon]), false)
	require.NoError(s.t, err)
	s.same("the active", want, got.Data)
	for _, m := range s.members {
		got, err := m.client.Query(s.ctx, []byte(whole[s.daemon]), true)
		require.NoError(s.t, err)
		s.same(m.name, want, got.Data)
	}
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
