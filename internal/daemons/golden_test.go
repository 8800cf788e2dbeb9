package daemons_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// hosted runs a built-in daemon from a state.
func hosted(t testing.TB, name string, f *chain.Founding, state []byte) (*host.Host, error) {
	fresh, err := daemons.New(name)
	require.NoError(t, err)
	tip, err := chain.Genesis(f)
	require.NoError(t, err)
	pos := host.Position{Tip: tip, Horizon: chain.NewHorizon(1).Marshal()}
	return host.FromPosition(fresh(), chain.Keypair{}, pos, bytes.NewReader(state), host.ConfigFrom(f.Settings))
}

func stateOf(t testing.TB, h *host.Host) []byte {
	s, err := h.TakeSnapshot()
	require.NoError(t, err)
	return s.State
}

var stories = map[string][][]byte{
	"ledger":    lines("open bob 100", "open alice 7", "transfer bob alice 30"),
	"kv":        lines("put b two words", "put a 1", "put c x", "delete c"),
	"wordcount": lines("the quick brown fox", "", "the lazy dog"),
}

func TestGoldenStates(t *testing.T) {
	for name, events := range stories {
		t.Run(name, func(t *testing.T) {
			start, err := daemons.New(name)
			require.NoError(t, err)
			f := testkit.Founding(1)
			h, err := host.New(start(), f, chain.Keypair{}, host.ConfigFrom(f.Settings))
			require.NoError(t, err)
			for _, e := range events {
				_, err := h.Deliver(chain.Event{Payload: e})
				require.NoError(t, err)
			}
			golden.Bytes(t, name, stateOf(t, h))
			back, err := hosted(t, name, f, golden.Read(t, name))
			require.NoError(t, err)
			require.Equal(t, stateOf(t, h), stateOf(t, back))
		})
	}
}

// A state that a built-in daemon restores is the one that it writes, and from
// there it does with any event what another one does.
func FuzzDaemons(f *testing.F) {
	for i, name := range daemons.Names() {
		for _, e := range stories[name] {
			f.Add(uint8(i), golden.Read(f, name), e)
		}
	}
	fo := testkit.Founding(1)
	f.Fuzz(func(t *testing.T, which uint8, state, event []byte) {
		name := daemons.Names()[int(which)%len(daemons.Names())]
		var one *host.Host
		var err error
		golden.Bounded(t, len(state), func() { one, err = hosted(t, name, fo, state) })
		if err != nil {
			return
		}
		require.True(t, bytes.Equal(state, stateOf(t, one)))
		two, err := hosted(t, name, fo, state)
		require.NoError(t, err)
		a, errA := one.Deliver(chain.Event{Payload: event})
		b, errB := two.Deliver(chain.Event{Payload: event})
		require.NoError(t, errA)
		require.NoError(t, errB)
		require.Equal(t, a, b)
		require.True(t, bytes.Equal(stateOf(t, one), stateOf(t, two)))
		one.Query(event)
	})
}
