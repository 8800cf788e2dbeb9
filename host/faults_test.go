package host_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// refusal is an error of a daemon's own type.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// hollow rejects with a nil *refusal, which is an error that is not nil.
type hollow struct{ counter }

func (h *hollow) Process(ev chain.Event) ([][]byte, error) {
	if string(ev.Payload) == "hollow" {
		var r *refusal
		return nil, r
	}
	return h.counter.Process(ev)
}

// The text of a daemon's error is the daemon's code too: a panic in it poisons
// the host and ends no process.
func TestErrorThatPanicsIsContained(t *testing.T) {
	h := newHost(t, &hollow{})
	st, err := h.Deliver(event(1, "1"))
	require.NoError(t, err)
	require.NotPanics(t, func() { _, err = h.Deliver(event(2, "hollow")) })
	var p *host.PoisonError
	require.ErrorAs(t, err, &p)
	require.Contains(t, p.Reason, "panicked")
	require.Equal(t, st.Hash, h.Head().Hash, "nothing is recorded")

	r := newHost(t, &hollow{}) // in a replay, where it was accepted before
	require.NotPanics(t, func() { err = r.Follow(event(1, "hollow"), 0, nil) })
	require.ErrorIs(t, err, host.ErrPoisoned)
}

// gauge says that it is as busy as it is told.
type gauge struct {
	counter
	saturation float64
}

func (g *gauge) Saturation() float64 { return g.saturation }

// A load of 0/0 is no number. JSON has none for it: neither the status nor what
// members say to each other could be told.
func TestSaturationIsANumber(t *testing.T) {
	for given, want := range map[float64]float64{-1: 0, 0.5: 0.5, 7: 1, math.Inf(1): 1, math.Inf(-1): 0, math.NaN(): 0} {
		got := newHost(t, &gauge{saturation: given}).Saturation()
		require.Equal(t, want, got, "%v", given)
	}
}

// sick panics when it is asked how it is.
type sick struct{ counter }

func (s *sick) Health() host.Health { panic("no pulse") }
func (s *sick) Saturation() float64 { panic("no scale") }

// A daemon that panics when it is asked how it is, is not well; the process goes on.
func TestPanicInHealthIsContained(t *testing.T) {
	h := newHost(t, &sick{})
	var health host.Health
	require.NotPanics(t, func() { health = h.Health() })
	require.Equal(t, host.Unhealthy, health.State)
	require.Contains(t, health.Reason, "no pulse")
	require.ErrorIs(t, h.Poisoned(), host.ErrPoisoned)

	h = newHost(t, &sick{})
	require.NotPanics(t, func() { require.Zero(t, h.Saturation()) })
	require.ErrorIs(t, h.Poisoned(), host.ErrPoisoned)
	require.Equal(t, host.Unhealthy, h.Health().State)
}

// silent gives an output without a byte.
type silent struct{ echo }

func (silent) Process(chain.Event) ([][]byte, error) { return [][]byte{nil, []byte("x")}, nil }

// An output without a byte is one all the same: in JSON it is an empty text, as
// when it is read from a disk, and not null.
func TestEmptyOutputIsNotNil(t *testing.T) {
	h := newHost(t, silent{})
	st, err := h.Deliver(event(1, "1"))
	require.NoError(t, err)
	require.Equal(t, [][]byte{{}, []byte("x")}, st.Outputs)
	require.NotNil(t, st.Outputs[0])
	require.Equal(t, chain.OutputRoot(1, [][]byte{nil, []byte("x")}), st.Link.OutputRoot)
}
