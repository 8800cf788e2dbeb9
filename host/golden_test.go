package host_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func snapshotFixture(t testing.TB) *host.Snapshot {
	f := testkit.Founding(3)
	h, err := host.New(&counter{}, f, testkit.Keys("a").Log, host.ConfigFrom(f.Settings))
	require.NoError(t, err)
	for i, payload := range []string{"2", "reject", "1"} {
		_, err := h.Deliver(chain.Event{Producer: "till-7", Sequence: uint64(i + 1), Time: 2_000_000_000, Payload: []byte(payload)})
		require.NoError(t, err)
	}
	require.NoError(t, h.RecordSubscription("market", "apples", []byte("token")))
	require.NoError(t, h.RecordSubscription("", "clock", nil))
	s, err := h.TakeSnapshot()
	require.NoError(t, err)
	return s
}

func TestGoldenSnapshot(t *testing.T) {
	s := snapshotFixture(t)
	golden.Bytes(t, "snapshot", s.Marshal())
	back, err := host.ParseSnapshot(golden.Read(t, "snapshot"))
	require.NoError(t, err)
	require.Equal(t, s, back)
}

func TestGoldenSubscriptions(t *testing.T) {
	s := snapshotFixture(t)
	golden.Bytes(t, "subscriptions", s.Subscriptions)
	s.Subscriptions = golden.Read(t, "subscriptions")
	h, err := host.FromSnapshot(&counter{}, testkit.Keys("a").Log, s, host.ConfigFrom(chain.DefaultSettings()))
	require.NoError(t, err)
	require.Equal(t, []host.Subscription{{Channel: "clock", Token: []byte{}}, {Publisher: "market", Channel: "apples", Token: []byte("token")}}, h.Subscriptions())
}

// A snapshot with the right digest under any bytes, so that fuzzing gets past it.
func FuzzParseSnapshot(f *testing.F) {
	b := golden.Read(f, "snapshot")
	f.Add(b[:len(b)-32])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := chain.Derive("snapshot", b)
		sealed := append(b[:len(b):len(b)], d[:]...)
		golden.Bounded(t, len(b), func() {
			if s, err := host.ParseSnapshot(sealed); err == nil {
				require.Equal(t, sealed, s.Marshal())
			}
		})
		if _, err := host.ParseSnapshot(b); err != nil {
			require.ErrorIs(t, err, host.ErrSnapshot)
		}
	})
}

// What a host takes over of a position's subscriptions it writes again as it was.
func FuzzSubscriptions(f *testing.F) {
	golden.Seed(f, "subscriptions")
	s := snapshotFixture(f)
	cfg := host.ConfigFrom(chain.DefaultSettings())
	f.Fuzz(func(t *testing.T, b []byte) {
		pos := s.Position
		pos.Subscriptions = b
		var h *host.Host
		var err error
		golden.Bounded(t, len(b), func() {
			h, err = host.FromPosition(&counter{}, testkit.Keys("a").Log, pos, bytes.NewReader(s.State), cfg)
		})
		if err != nil {
			require.ErrorIs(t, err, host.ErrLedger)
			return
		}
		c, err := h.Capture()
		require.NoError(t, err)
		require.True(t, bytes.Equal(b, c.Position.Subscriptions))
	})
}
