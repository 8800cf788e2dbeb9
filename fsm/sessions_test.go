package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
)

// A state whose receipts all have a reason of the greatest length still fits into
// a Raft snapshot, and into a message between members.
func TestReasonsAreBoundedInSum(t *testing.T) {
	set := chain.DefaultSettings()
	s := newSessions(set)
	reason := strings.Repeat("x", 1024)
	seq, producers := uint64(0), 64
	for p := range producers {
		for i := uint64(1); i <= uint64(set.ReceiptsPerProducer); i++ {
			seq++
			st := &Step{Producer: fmt.Sprintf("producer-%d", p), Sequence: i, Flags: chain.Rejected, Reason: reason}
			s.note(st, &chain.Link{Seq: seq, Term: 1}, chain.Hash{}, 0)
		}
	}
	require.Equal(t, maxWords/len(reason), s.kept)
	require.Less(t, len(s.marshal(nil)), maxWords+maxWords/4)
	_, ok := s.receipt("producer-63", 1024)
	require.True(t, ok)
	_, ok = s.receipt("producer-0", 1024)
	require.False(t, ok)
	for p := range producers {
		s.forget(s.byName[fmt.Sprintf("producer-%d", p)])
	}
	require.Zero(t, s.words)
	require.Zero(t, s.kept)
}

// Only who was silent for an hour is forgotten for another's sake, however many
// come at once, and also if a silent one is heard of meanwhile.
func TestCrowded(t *testing.T) {
	set := chain.DefaultSettings()
	set.MaxProducers = 3
	s := newSessions(set)
	now := 2 * minSilence
	for name, used := range map[string]int64{"a": 0, "b": 0, "c": now} {
		s.note(&Step{Producer: name, Sequence: 1}, &chain.Link{Time: used}, chain.Hash{}, 0)
	}
	s.order.MoveToBack(s.byName["c"])
	heard := func(names string) func(string) bool {
		return func(p string) bool { return strings.Contains(names, p) }
	}
	require.False(t, s.crowded(now, 0, heard("")))
	require.False(t, s.crowded(now, 1, heard("")))
	require.True(t, s.crowded(now, 2, heard("")))
	require.True(t, s.crowded(now, 9, heard("")), "more than there are")
	require.False(t, s.crowded(now, 0, heard("a")))
	require.True(t, s.crowded(now, 1, heard("a")))
	require.True(t, s.crowded(now, 0, heard("ab")))
	s.forget(s.byName["a"])
	require.False(t, s.crowded(now, 0, heard("bc")), "there is room")
}
