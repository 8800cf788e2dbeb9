package host_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// counter is a daemon whose state, inputs and outputs all differ: its state is
// the count; the event says how many outputs it gives, or that it fails.
type counter struct{ n, sum uint64 }

func (c *counter) Name() string { return "counter" }

func (c *counter) Process(ev chain.Event) ([][]byte, error) {
	switch string(ev.Payload) {
	case "reject":
		return nil, errors.New("I do not like it")
	case "panic":
		c.sum = 666 // a half-done change
		panic("boom")
	case "large":
		return [][]byte{make([]byte, 5<<20)}, nil
	}
	c.n++
	c.sum += uint64(len(ev.Payload)) * ev.Seq
	var outs [][]byte
	for i := range int(ev.Payload[0] - '0') {
		outs = append(outs, fmt.Appendf(nil, "%d/%d/%d", c.n, c.sum, i))
	}
	return outs, nil
}

func (c *counter) Snapshot() ([]byte, error) {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, c.n), c.sum), nil
}

func (c *counter) Restore(b []byte) error {
	if len(b) != 16 {
		return fmt.Errorf("%d bytes", len(b))
	}
	c.n, c.sum = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return nil
}

type echo struct{}

func (echo) Name() string                             { return "echo" }
func (echo) Process(ev chain.Event) ([][]byte, error) { return [][]byte{ev.Payload}, nil }

func newHost(t *testing.T, d host.Daemon) *host.Host {
	t.Helper()
	f := testkit.Founding(3)
	h, err := host.New(d, f, testkit.Keys("a").Log, host.ConfigFrom(f.Settings))
	require.NoError(t, err)
	return h
}

func event(i int, payload string) chain.Event {
	return chain.Event{Producer: "p", Sequence: uint64(i), Time: int64(2_000_000_000 + i), Payload: []byte(payload)}
}

// Steps with any number of outputs, rejections and refusals replay to exactly
// the same links, on a fresh daemon and from any snapshot on.
func TestReplayArrivesAtTheSameHead(t *testing.T) {
	h := newHost(t, &counter{})
	var steps []host.Step
	var snaps []*host.Snapshot
	for i, p := range []string{"0", "1", "2 x", "reject", "3", "0 abc", "4", "reject", "1"} {
		snap, err := h.TakeSnapshot()
		require.NoError(t, err)
		snaps = append(snaps, snap)
		st, err := h.Deliver(event(i+1, p))
		require.NoError(t, err)
		if i%3 == 2 {
			st.Link, st.Hash = h.Root()
			st.Flags |= chain.Rooted
			require.False(t, st.Link.PrevRoot.IsZero())
		}
		require.Equal(t, h.Head().Hash, st.Hash)
		steps = append(steps, st)
	}
	require.Equal(t, uint64(11), h.Head().Link.Outputs)
	require.Equal(t, uint64(2), h.Stats().EventsRejected)
	for from := range snaps {
		b := snaps[from].Marshal()
		snap, err := host.ParseSnapshot(b)
		require.NoError(t, err)
		r, err := host.FromSnapshot(&counter{}, testkit.Keys("b").Log, snap, h.Config())
		require.NoError(t, err)
		tip := r.Tip()
		for _, st := range steps[from:] {
			require.NoError(t, r.Follow(st.Event, st.Flags, st.Outputs))
			require.Equal(t, st.Link.Seq, r.Sequence())
			require.NoError(t, tip.Append(&st.Link))
		}
		_, err = r.Capture()
		require.ErrorIs(t, err, host.ErrFollowing)
		_, err = r.Deliver(event(99, "1"))
		require.ErrorIs(t, err, host.ErrFollowing)
		require.NoError(t, r.Arrive(&tip))
		require.Equal(t, h.Tip(), r.Tip())
		require.Equal(t, h.Horizon().Marshal(), r.Horizon().Marshal())
	}
}

// A panic and an output over the limit leave no trace in the chain; the host
// rebuilt before it can record the event as refused, and that replays.
func TestPoisonIsContained(t *testing.T) {
	for _, bad := range []string{"panic", "large"} {
		h := newHost(t, &counter{})
		first, err := h.Deliver(event(1, "1"))
		require.NoError(t, err)
		_, err = h.Deliver(event(2, bad))
		require.ErrorIs(t, err, host.ErrPoisoned)
		var p *host.PoisonError
		require.ErrorAs(t, err, &p)
		_, err = h.Deliver(event(2, "1"))
		require.ErrorIs(t, err, host.ErrPoisoned)
		require.Error(t, h.Poisoned())

		h = newHost(t, &counter{})
		require.NoError(t, h.Follow(first.Event, first.Flags, first.Outputs))
		tip := h.Tip()
		require.NoError(t, tip.Append(&first.Link))
		require.NoError(t, h.Arrive(&tip))
		st, err := h.Refuse(event(2, bad), p.Reason)
		require.NoError(t, err)
		require.Equal(t, chain.Refused, st.Flags)
		next, err := h.Deliver(event(3, "1"))
		require.NoError(t, err)
		require.Equal(t, first.Hash, chain.Hash(st.Link.Parent))
		require.Equal(t, "2/"+string(next.Outputs[0][2:]), string(next.Outputs[0]), "the refused event left the daemon alone")
	}
}

func TestReplayFindsDivergence(t *testing.T) {
	h := newHost(t, &counter{})
	st, err := h.Deliver(event(1, "2"))
	require.NoError(t, err)
	var d *host.DivergenceError

	r := newHost(t, &counter{sum: 1})
	err = r.Follow(st.Event, st.Flags, st.Outputs)
	require.ErrorAs(t, err, &d)
	require.Equal(t, uint64(1), d.Seq)
	require.ErrorIs(t, r.Poisoned(), host.ErrPoisoned)

	r = newHost(t, &counter{})
	err = r.Follow(st.Event, chain.Rejected, nil)
	require.ErrorAs(t, err, &d)

	for name, change := range map[string]func(*chain.Link){
		"seq": func(l *chain.Link) { l.Seq++ }, "inputs": func(l *chain.Link) { l.Inputs++ }, "outputs": func(l *chain.Link) { l.Outputs++ },
		"term": func(l *chain.Link) { l.Term++ }, "time": func(l *chain.Link) { l.Time++ }, "flags": func(l *chain.Link) { l.Flags |= chain.Rooted },
		"kind": func(l *chain.Link) { l.Kind = chain.KindSeal }, "producers": func(l *chain.Link) { l.Horizon = l.Horizon.Add("q") },
	} {
		r = newHost(t, &counter{})
		tip := r.Tip()
		require.NoError(t, r.Follow(st.Event, st.Flags, st.Outputs))
		link := st.Link
		change(&link)
		tip.Extend(&link, link.Hash())
		require.ErrorAs(t, r.Arrive(&tip), &d, name)
		require.ErrorIs(t, r.Poisoned(), host.ErrPoisoned, name)
	}
	r = newHost(t, &counter{})
	tip := r.Tip()
	require.NoError(t, r.Arrive(&tip), "it is there")
	tip.Head.Hash[0]++
	require.ErrorAs(t, r.Arrive(&tip), &d)
}

// Restore refuses what is older, foreign or damaged, and then nothing has changed.
func TestRestoreIsAllOrNothing(t *testing.T) {
	h := newHost(t, &counter{})
	require.NoError(t, h.RecordSubscription("pub", "ch", []byte("secret")))
	old, err := h.TakeSnapshot()
	require.NoError(t, err)
	for i := 1; i < 5; i++ {
		_, err = h.Deliver(event(i, "1"))
		require.NoError(t, err)
	}
	before := h.Head()
	require.ErrorIs(t, h.Restore(old, &counter{}), host.ErrOlder)
	other, err := host.New(&counter{}, testkit.Founding(2), testkit.Keys("a").Log, h.Config())
	require.NoError(t, err)
	foreign, err := other.TakeSnapshot()
	require.NoError(t, err)
	require.ErrorIs(t, h.Restore(foreign, &counter{}), host.ErrForeign)
	now, err := h.TakeSnapshot()
	require.NoError(t, err)
	bad := *now
	bad.State = []byte("short")
	require.Error(t, h.Restore(&bad, &counter{}))
	require.Equal(t, before, h.Head())
	_, err = h.Deliver(event(5, "2"))
	require.NoError(t, err)
	require.ErrorIs(t, h.Restore(now, &counter{}), host.ErrOlder)

	behind := newHost(t, &counter{})
	require.NoError(t, behind.Restore(now, &counter{}))
	require.Equal(t, now.Tip.Head, behind.Head())
	require.Equal(t, []host.Subscription{{Publisher: "pub", Channel: "ch", Token: []byte("secret")}}, behind.Subscriptions())
	n, ok := behind.Horizon().Get("p")
	require.True(t, ok)
	require.Equal(t, uint64(4), n)
}

func TestStatelessDaemons(t *testing.T) {
	h := newHost(t, echo{})
	_, err := h.TakeSnapshot()
	require.ErrorIs(t, err, host.ErrStateless)
	c, err := h.Capture()
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, c.WriteState(&b))
	require.Zero(t, b.Len())
	_, err = host.FromPosition(echo{}, h.Keypair(), c.Position, bytes.NewReader([]byte("state")), h.Config())
	require.ErrorIs(t, err, host.ErrStateless)
	_, err = host.FromPosition(echo{}, h.Keypair(), c.Position, bytes.NewReader(nil), h.Config())
	require.NoError(t, err)
}

func TestRefusalsWithoutRecord(t *testing.T) {
	h := newHost(t, echo{})
	for _, ev := range []chain.Event{
		{Producer: "p", Sequence: 0}, {Sequence: 1}, {Producer: string(make([]byte, 65)), Sequence: 1}, {Payload: make([]byte, 1<<20+1)},
	} {
		_, err := h.Deliver(ev)
		require.Error(t, err)
		require.Zero(t, h.Sequence())
	}
	_, err := h.Query(nil)
	require.ErrorIs(t, err, host.ErrNoQuery)
}

func TestRequirements(t *testing.T) {
	r := host.Requirements{Required: host.Capabilities{Tags: []string{"gpu"}, Values: map[string]string{"zone": "a"}}, Optional: host.Capabilities{Tags: []string{"big"}}}
	ok, missing := r.MetBy(host.Capabilities{})
	require.False(t, ok)
	require.Equal(t, []string{"gpu", "zone=a"}, missing)
	has := host.Capabilities{Tags: []string{"gpu", "big"}, Values: map[string]string{"zone": "a"}}
	ok, _ = r.MetBy(has)
	require.True(t, ok)
	require.Equal(t, 1, r.Score(has))
}

func TestSnapshotFlips(t *testing.T) {
	h := newHost(t, &counter{})
	_, err := h.Deliver(event(1, "2"))
	require.NoError(t, err)
	s, err := h.TakeSnapshot()
	require.NoError(t, err)
	b := s.Marshal()
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			_, err := host.ParseSnapshot(b)
			require.ErrorIs(t, err, host.ErrSnapshot)
			b[i] ^= 1 << bit
		}
	}
}

// Names may hold any bytes; none of them joins or splits two names.
func TestSubscriptionNamesWithZeroBytes(t *testing.T) {
	h := newHost(t, &counter{})
	require.NoError(t, h.RecordSubscription("a\x00b", "c", []byte("x")))
	require.NoError(t, h.RecordSubscription("a", "b\x00c", []byte("y")))
	s, err := h.TakeSnapshot()
	require.NoError(t, err)
	back, err := host.FromSnapshot(&counter{}, testkit.Keys("a").Log, s, host.ConfigFrom(chain.DefaultSettings()))
	require.NoError(t, err)
	require.Equal(t, h.Subscriptions(), back.Subscriptions())
	require.Equal(t, 2, back.SubscriptionCount())
}

func ExampleHost() {
	f := testkit.Founding(3)
	h, _ := host.New(echo{}, f, testkit.Keys("a").Log, host.ConfigFrom(f.Settings))
	st, _ := h.Deliver(chain.Event{Producer: "till-7", Sequence: 1, Payload: []byte("hello")})
	fmt.Printf("seq %d, %d output: %s\n", st.Link.Seq, len(st.Outputs), st.Outputs[0])
	// Output: seq 1, 1 output: hello
}

func BenchmarkDeliver(b *testing.B) {
	f := testkit.Founding(3)
	h, _ := host.New(echo{}, f, testkit.Keys("a").Log, host.ConfigFrom(f.Settings))
	payload := make([]byte, 128)
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		if _, err := h.Deliver(chain.Event{Producer: "p", Sequence: uint64(i), Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
}
