package fsm_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// entries is one entry of each kind, with a value in every field.
func entries(t testing.TB) map[string]*fsm.Entry {
	f := testkit.Founding(3)
	tip, err := chain.Genesis(f)
	require.NoError(t, err)
	h := chain.Handoff{Reason: chain.ReasonFirst, Term: 3, Seq: 1, Time: 2_000_000_000, Roster: f.Roster.Digest(), Member: "a", Anchor: chain.AnchorOf(&tip)}
	require.NoError(t, h.Sign(testkit.Keys("a").Log))
	seal := chain.Seal{Seq: 6, Link: chain.Hash{6}, Frontier: []chain.Hash{{1}, {2}, {3}}, Inputs: 5, Outputs: 4, Horizon: chain.Hash{7}, Manifest: chain.Hash{8}, Size: 9}
	return map[string]*fsm.Entry{
		"batch": {Kind: fsm.Batch, Term: 3, Ordinal: 300, First: 2, Last: chain.Hash{0xaa, 31: 0xbb}, Steps: []fsm.Step{
			{Producer: "till-7", Sequence: 42, Time: 2_000_000_001, Payload: []byte("sell one apple"), Outputs: [][]byte{[]byte("sold"), {}}},
			{Time: 2_000_000_002, Payload: bytes.Repeat([]byte("long "), 40)},
			{Producer: "till-8", Sequence: 1, Time: 2_000_000_003, Flags: chain.Rejected, Reason: "no such fruit", Payload: []byte("sell")},
			{Producer: "till-8", Sequence: 2, Time: 2_000_000_004, Flags: chain.Refused, Reason: "the daemon panicked", Payload: []byte("boom")},
		}},
		"handoff": {Kind: fsm.HandoffEntry, Term: 3, First: 1, Record: h.Marshal(), Time: h.Time, Last: chain.Hash{1}},
		"seal":    {Kind: fsm.SealEntry, Term: 3, Ordinal: 301, First: 7, Record: seal.Marshal(), Time: 2_000_000_005, Last: chain.Hash{2}},
		"report":  {Kind: fsm.ReportEntry, Term: 3, Record: report().Marshal(), Time: 2_000_000_006},
		"noop":    {Kind: fsm.NoopEntry, Term: 3},
	}
}

func report() *fsm.Report {
	return &fsm.Report{Member: "b", StoreID: [16]byte{1, 15: 16}, Seq: 6, Manifest: chain.Hash{8}, Verified: true}
}

func TestGoldenEntries(t *testing.T) {
	for name, e := range entries(t) {
		t.Run(name, func(t *testing.T) {
			golden.Bytes(t, "entry-"+name, e.Marshal(nil))
			back, err := fsm.ParseEntry(golden.Read(t, "entry-"+name))
			require.NoError(t, err)
			for i := range e.Steps { // an empty output reads back as no bytes
				require.Len(t, back.Steps[i].Outputs, len(e.Steps[i].Outputs))
				for j, o := range e.Steps[i].Outputs {
					require.True(t, bytes.Equal(o, back.Steps[i].Outputs[j]))
				}
				back.Steps[i].Outputs = e.Steps[i].Outputs
			}
			if len(e.Record) == 0 {
				require.Empty(t, back.Record)
				back.Record = nil
			}
			require.Equal(t, e, back)
		})
	}
	golden.Bytes(t, "report", report().Marshal())
	back, err := fsm.ParseReport(golden.Read(t, "report"))
	require.NoError(t, err)
	require.Equal(t, report(), back)
}

// image is that of a state that has something of everything.
func image(t *testing.T) (*active, []byte) {
	a := newActive(t, 3, 1)
	a.promote("a", 3)
	bad := a.step("till-8")
	bad.Flags, bad.Reason = chain.Rejected, "no such fruit"
	require.Equal(t, fsm.Accepted, a.commit(a.step("till-7", "sold", ""), a.step(""), bad).Status)
	require.Equal(t, fsm.Accepted, a.seal().Status)
	a.report("a", true)
	a.report("b", false)
	require.Equal(t, fsm.Accepted, a.promote("b", 7).Status)
	require.Equal(t, fsm.Accepted, a.seal().Status)
	a.report("c", false)
	require.Equal(t, fsm.Accepted, a.commit(a.step("till-7")).Status)
	var b bytes.Buffer
	_, err := a.states[0].Snapshot().WriteTo(&b)
	require.NoError(t, err)
	return a, b.Bytes()
}

func TestGoldenImage(t *testing.T) {
	a, img := image(t)
	golden.Bytes(t, "image", img)
	s, err := fsm.ReadState(bytes.NewReader(golden.Read(t, "image")), a.f)
	require.NoError(t, err)
	want := a.states[0]
	require.Equal(t, want.Head(), s.Head())
	require.Equal(t, want.Tip(), s.Tip())
	require.Equal(t, want.Checkpoints(), s.Checkpoints())
	require.Equal(t, want.Floor(), s.Floor())
	for _, p := range []string{"till-7", "till-8"} {
		last, known := s.Session(p)
		require.True(t, known)
		for n := uint64(1); n <= last; n++ {
			r, ok := s.Receipt(p, n)
			require.True(t, ok)
			w, _ := want.Receipt(p, n)
			require.Equal(t, w, r)
		}
	}
	var b bytes.Buffer
	_, err = s.Snapshot().WriteTo(&b)
	require.NoError(t, err)
	require.True(t, bytes.Equal(img, b.Bytes()))
	// The state goes on from there: the active's next entries are accepted.
	a.states[0] = s
	require.Equal(t, fsm.Accepted, a.commit(a.step("till-8", "x")).Status)
}

// sealImage puts the digest under an image's sections, so that fuzzing gets
// past it.
func sealImage(sections []byte) []byte {
	d := chain.Derive("state image", sections)
	return append(sections[:len(sections):len(sections)], d[:]...)
}

// A state that was read is one that can be written and read again, and that
// takes entries without a panic.
func FuzzReadState(f *testing.F) {
	fo := testkit.Founding(3)
	img := golden.Read(f, "image")
	f.Add(img[:len(img)-32])
	genesis, err := fsm.NewState(fo)
	require.NoError(f, err)
	var b bytes.Buffer
	genesis.Snapshot().WriteTo(&b)
	f.Add(b.Bytes()[:b.Len()-32])
	entry := golden.Read(f, "entry-batch")
	f.Fuzz(func(t *testing.T, b []byte) {
		var s *fsm.State
		var err error
		golden.Bounded(t, len(b), func() { s, err = fsm.ReadState(bytes.NewReader(sealImage(b)), fo) })
		if err != nil {
			require.ErrorIs(t, err, fsm.ErrImage)
			return
		}
		var one, two bytes.Buffer
		_, err = s.Snapshot().WriteTo(&one)
		require.NoError(t, err)
		again, err := fsm.ReadState(bytes.NewReader(one.Bytes()), fo)
		require.NoError(t, err)
		_, err = again.Snapshot().WriteTo(&two)
		require.NoError(t, err)
		require.Equal(t, one.Bytes(), two.Bytes())
		require.Equal(t, sealImage(b), one.Bytes(), "decoding is one to one")
		s.Apply(1<<40, s.Term(), entry)
	})
}

// A section's length is not believed before its bytes are there.
func TestImageLengthIsNotBelieved(t *testing.T) {
	b := binary.BigEndian.AppendUint32(nil, 256<<20)
	golden.Bounded(t, len(b), func() {
		_, err := fsm.ReadState(bytes.NewReader(b), testkit.Founding(1))
		require.ErrorIs(t, err, fsm.ErrImage)
	})
}
