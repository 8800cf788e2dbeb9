package fsm_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// The journal's entries make exactly the committed links again. One in which
// anything is different does not.
func TestJournalExtends(t *testing.T) {
	a := newActive(t, 3, 1)
	a.promote("a", 1)
	a.commit(a.step("p", "x", "y"), a.step("", "z"), a.step("q"))
	a.seal()
	a.commit(a.step("p", "w"))
	a.promote("b", 2)
	a.commit(a.step("p", "v"), a.step("r"))
	s := a.states[0]
	entries, err := s.Journal(1)
	require.NoError(t, err)
	genesis, err := chain.Genesis(testkit.Founding(3))
	require.NoError(t, err)
	extend := func(entries []fsm.JournalEntry) (tip chain.Tip, err error) {
		tip = genesis
		for i := 0; i < len(entries) && err == nil; i++ {
			err = entries[i].Extend(&tip)
		}
		return tip, err
	}
	tip, err := extend(entries)
	require.NoError(t, err)
	require.Equal(t, s.Tip(), tip)

	for name, change := range map[string]func(*fsm.JournalEntry){
		"payload":  func(e *fsm.JournalEntry) { e.Steps[0].Payload = []byte("other") },
		"producer": func(e *fsm.JournalEntry) { e.Steps[0].Producer = "other" },
		"number":   func(e *fsm.JournalEntry) { e.Steps[0].Sequence++ },
		"time":     func(e *fsm.JournalEntry) { e.Steps[0].Time++ },
		"outputs":  func(e *fsm.JournalEntry) { e.Steps[0].Outputs = nil },
		"output":   func(e *fsm.JournalEntry) { e.Steps[0].Outputs = [][]byte{[]byte("x"), []byte("other")} },
		"order":    func(e *fsm.JournalEntry) { slices.Reverse(e.Steps) },
		"last":     func(e *fsm.JournalEntry) { e.Last[0]++ },
		"term":     func(e *fsm.JournalEntry) { e.Term++ },
		"first":    func(e *fsm.JournalEntry) { e.First++ },
	} {
		changed := slices.Clone(entries)
		e := &changed[1]
		e.Steps = slices.Clone(e.Steps)
		change(e)
		_, err := extend(changed)
		require.Error(t, err, name)
	}
	_, err = extend(slices.Delete(slices.Clone(entries), 2, 3))
	require.Error(t, err, "a seal is missing")
}
