package fsm_test

import (
	"runtime"
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
	kept, err := s.Journal(1)
	require.NoError(t, err)
	read := func() (entries []*fsm.Entry) {
		for i := range kept {
			e, err := kept[i].Entry()
			require.NoError(t, err)
			entries = append(entries, e)
		}
		return entries
	}
	genesis, err := chain.Genesis(testkit.Founding(3))
	require.NoError(t, err)
	extend := func(entries []*fsm.Entry) (tip chain.Tip, err error) {
		tip = genesis
		for i := 0; i < len(entries) && err == nil; i++ {
			err = entries[i].Extend(&tip)
		}
		return tip, err
	}
	tip, err := extend(read())
	require.NoError(t, err)
	require.Equal(t, s.Tip(), tip)

	for name, change := range map[string]func(*fsm.Entry){
		"payload":  func(e *fsm.Entry) { e.Steps[0].Payload = []byte("other") },
		"producer": func(e *fsm.Entry) { e.Steps[0].Producer = "other" },
		"number":   func(e *fsm.Entry) { e.Steps[0].Sequence++ },
		"time":     func(e *fsm.Entry) { e.Steps[0].Time++ },
		"outputs":  func(e *fsm.Entry) { e.Steps[0].Outputs = nil },
		"output":   func(e *fsm.Entry) { e.Steps[0].Outputs = [][]byte{[]byte("x"), []byte("other")} },
		"order":    func(e *fsm.Entry) { slices.Reverse(e.Steps) },
		"last":     func(e *fsm.Entry) { e.Last[0]++ },
		"term":     func(e *fsm.Entry) { e.Term++ },
		"first":    func(e *fsm.Entry) { e.First++ },
	} {
		changed := read()
		change(changed[1])
		_, err := extend(changed)
		require.Error(t, err, name)
	}
	_, err = extend(slices.Delete(read(), 2, 3))
	require.Error(t, err, "a seal is missing")
}

// The size that the journal tells, and that is bounded, is what it takes.
func TestJournalTakesWhatItTells(t *testing.T) {
	a := newActive(t, 3, 1)
	a.promote("a", 1)
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	var batch []fsm.Step
	commit := func() {
		batch = batch[:0]
		for range 128 {
			st := a.step("p", "x")
			st.Payload = make([]byte, 200)
			batch = append(batch, st)
		}
		a.commit(batch...)
	}
	for range 50 { // then a producer's receipts take no more room
		commit()
	}
	before := heap()
	_, bytes := a.states[0].JournalSize()
	for range 300 {
		commit()
	}
	grown := heap() - before
	_, now := a.states[0].JournalSize() // after the heap was looked at: the state must still be there
	require.Less(t, float64(grown), 1.3*float64(now-bytes))
}
