package fsm

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
)

func TestRing(t *testing.T) {
	var r ring[int]
	var want []int
	rng := rand.New(rand.NewPCG(1, 0))
	for n := range 2000 {
		if len(want) > 0 && rng.IntN(100) < 30+n/30 { // grows, then shrinks
			require.Equal(t, want[0], r.pop())
			want = want[1:]
		} else {
			r.push(n)
			want = append(want, n)
		}
		require.Equal(t, len(want), r.len())
		for i := range want {
			require.Equal(t, want[i], *r.at(i))
		}
	}
}

// What is pushed after something was popped takes no new memory, and what was
// popped is let go of.
func TestRingKeepsItsMemory(t *testing.T) {
	var r ring[*int]
	for range 5 {
		r.push(new(int))
	}
	p := r.pop()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		r.push(p)
		r.pop()
	}))
	for r.len() > 0 {
		r.pop()
	}
	for _, p := range r.buf {
		require.Nil(t, p)
	}
}

// Numbers are looked at for each producer alone, whatever the order in a batch.
func TestCheckOfMixedProducers(t *testing.T) {
	s := newSessions(chain.DefaultSettings())
	batch := func(numbers ...uint64) (steps []Step) {
		for i, n := range numbers {
			steps = append(steps, Step{Producer: string("pq"[i%2]), Sequence: n})
		}
		return steps
	}
	require.NoError(t, s.check(batch(1, 1, 2, 2, 3, 3)))
	require.Error(t, s.check(batch(1, 1, 3, 2)))
	require.Error(t, s.check(batch(1, 1, 2, 3)))
	require.Error(t, s.check(batch(1, 1, 1, 2)))
}
