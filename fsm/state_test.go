package fsm_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// active drives states the way an active does: it keeps its own tip and makes
// the entries.
type active struct {
	t       *testing.T
	f       *chain.Founding
	tip     chain.Tip
	term    uint64
	ordinal uint64
	index   uint64
	states  []*fsm.State
	member  string
	last    chain.Handoff
	lastSeq uint64
	seqs    map[string]uint64
	ahead   int64 // of the clock of who is promoted next, ns
}

func newActive(t *testing.T, members, replicas int) *active {
	f := testkit.Founding(members)
	a := &active{t: t, f: f, seqs: map[string]uint64{}}
	tip, err := chain.Genesis(f)
	require.NoError(t, err)
	a.tip = tip
	for range replicas {
		s, err := fsm.NewState(f)
		require.NoError(t, err)
		a.states = append(a.states, s)
	}
	return a
}

// apply gives the entry to every state and expects one answer from all.
func (a *active) apply(e *fsm.Entry, term uint64) *fsm.Result {
	a.index++
	var first *fsm.Result
	for _, s := range a.states {
		r := s.Apply(a.index, term, e.Marshal(nil))
		if first == nil {
			first = r
		}
		require.Equal(a.t, first.Status, r.Status)
		require.Equal(a.t, first.Head, r.Head)
	}
	return first
}

func (a *active) handoffEntry(member string, term uint64) (*fsm.Entry, chain.Link, chain.Handoff) {
	h := chain.Handoff{
		Reason: chain.ReasonActiveFailed, Term: term, OldTerm: a.last.Term, Seq: a.tip.Head.Size(), PrevHandoff: a.lastSeq, Time: 2_000_000_000 + a.ahead,
		Roster: a.f.Roster.Digest(), OldMember: a.last.Member, Member: member, Anchor: chain.AnchorOf(&a.tip),
	}
	if a.lastSeq == 0 {
		h.Reason = chain.ReasonFirst
	}
	require.NoError(a.t, h.Sign(testkit.Keys(member).Log))
	rec := h.Marshal()
	l := a.tip.Next(chain.Draft{Kind: chain.KindHandoff, Term: term, Time: h.Time, Input: chain.RecordDigest(chain.KindHandoff, rec)})
	return &fsm.Entry{Kind: fsm.HandoffEntry, Term: term, First: l.Seq, Record: rec, Time: l.Time, Last: l.Hash()}, l, h
}

func (a *active) promote(member string, term uint64) *fsm.Result {
	e, l, h := a.handoffEntry(member, term)
	r := a.apply(e, term)
	if r.Status == fsm.Accepted {
		require.NoError(a.t, a.tip.Append(&l))
		a.term, a.ordinal, a.member, a.last, a.lastSeq = term, 0, member, h, l.Seq
	}
	return r
}

func (a *active) batch(steps ...fsm.Step) *fsm.Entry {
	e := &fsm.Entry{Kind: fsm.Batch, Term: a.term, Ordinal: a.ordinal + 1, First: a.tip.Head.Size(), Steps: steps}
	tip := a.tip
	for i, s := range steps {
		d := chain.Draft{
			Kind: chain.KindStep, Flags: s.Flags, Term: a.term, Time: s.Time, Producer: s.Producer, Input: chain.EventDigest(s.Producer, s.Sequence, s.Payload),
			NewOutputs: uint64(len(s.Outputs)), OutputRoot: chain.OutputRoot(tip.Head.Link.Outputs+1, s.Outputs),
		}
		if i == len(steps)-1 {
			d.Flags |= chain.Rooted
		}
		l := tip.Next(d)
		require.NoError(a.t, tip.Append(&l))
	}
	e.Last = tip.Head.Hash
	return e
}

func (a *active) step(producer string, outs ...string) fsm.Step {
	s := fsm.Step{Time: a.tip.Head.Link.Time + 1, Payload: []byte("event")}
	if producer != "" {
		a.seqs[producer]++
		s.Producer, s.Sequence = producer, a.seqs[producer]
	}
	for _, o := range outs {
		s.Outputs = append(s.Outputs, []byte(o))
	}
	return s
}

func (a *active) commit(steps ...fsm.Step) *fsm.Result {
	e := a.batch(steps...)
	r := a.apply(e, a.term)
	if r.Status == fsm.Accepted {
		for i := range r.Links {
			require.NoError(a.t, a.tip.Append(&r.Links[i]))
		}
		a.ordinal++
	}
	return r
}

func (a *active) seal() *fsm.Result {
	s := chain.Seal{Seq: a.tip.Head.Seq(), Link: a.tip.Head.Hash, Frontier: a.tip.Frontier.Hashes(), Inputs: a.tip.Head.Link.Inputs, Manifest: chain.Derive("manifest", []byte(fmt.Sprint(a.tip.Head.Seq())))}
	rec := s.Marshal()
	l := a.tip.Next(chain.Draft{Kind: chain.KindSeal, Term: a.term, Input: chain.RecordDigest(chain.KindSeal, rec)})
	r := a.apply(&fsm.Entry{Kind: fsm.SealEntry, Term: a.term, Ordinal: a.ordinal + 1, First: l.Seq, Record: rec, Time: l.Time, Last: l.Hash()}, a.term)
	if r.Status == fsm.Accepted {
		require.NoError(a.t, a.tip.Append(&l))
		a.ordinal++
	}
	return r
}

func (a *active) report(member string, verified bool) *fsm.Result {
	refs := a.states[0].Checkpoints()
	ref := refs[len(refs)-1]
	rep := fsm.Report{Member: member, Seq: ref.Seal.Seq, Manifest: ref.Seal.Manifest, Verified: verified}
	return a.apply(&fsm.Entry{Kind: fsm.ReportEntry, Term: a.term, Record: rep.Marshal()}, a.term)
}

func TestFirstLinkOfATermIsItsHandoff(t *testing.T) {
	a := newActive(t, 3, 2)
	noop := &fsm.Entry{Kind: fsm.NoopEntry, Term: 1}
	require.Equal(t, fsm.Refused, a.apply(noop, 1).Status, "no handoff yet")
	require.Equal(t, fsm.Accepted, a.promote("a", 2).Status)
	require.Equal(t, fsm.Accepted, a.commit(a.step("p", "x", "y"), a.step("", "z")).Status)
	require.Equal(t, fsm.Refused, a.promote("b", 2).Status, "the term must rise")
	e := a.batch(a.step("q"))
	require.Equal(t, fsm.Refused, a.apply(e, 3).Status, "an entry of term 2 in log term 3")
	require.Equal(t, fsm.Accepted, a.promote("b", 5).Status)
	require.Equal(t, fsm.Refused, a.apply(e, 2).Status, "the old active is fenced")
}

func TestHandoffRules(t *testing.T) {
	for name, c := range map[string]func(h *chain.Handoff){
		"anchor":   func(h *chain.Handoff) { h.Anchor.Link[0]++ },
		"root":     func(h *chain.Handoff) { h.Anchor.Root[0]++ },
		"previous": func(h *chain.Handoff) { h.PrevHandoff = 99 },
		"old term": func(h *chain.Handoff) { h.OldTerm++ },
		"roster":   func(h *chain.Handoff) { h.Roster[0]++ },
		"reason":   func(h *chain.Handoff) { h.Reason = chain.ReasonFirst },
		"release":  func(h *chain.Handoff) { h.Reason, h.Release = chain.ReasonPlanned, make([]byte, 64) },
		"stranger": func(h *chain.Handoff) { h.Member = "zzz" },
	} {
		t.Run(name, func(t *testing.T) {
			a := newActive(t, 3, 1)
			a.promote("a", 1)
			_, _, h := a.handoffEntry("b", 2)
			c(&h)
			require.NoError(t, h.Sign(testkit.Keys("b").Log))
			rec := h.Marshal()
			l := a.tip.Next(chain.Draft{Kind: chain.KindHandoff, Term: 2, Time: h.Time, Input: chain.RecordDigest(chain.KindHandoff, rec)})
			r := a.apply(&fsm.Entry{Kind: fsm.HandoffEntry, Term: 2, First: l.Seq, Record: rec, Time: l.Time, Last: l.Hash()}, 2)
			require.Equal(t, fsm.Refused, r.Status)
			require.Equal(t, fsm.Accepted, a.promote("b", 2).Status, "the right one is still possible")
		})
	}
}

// An entry that is lost kills its activation, on every replica alike.
func TestOrdinalGapKillsTheActivation(t *testing.T) {
	a := newActive(t, 3, 2)
	a.promote("a", 1)
	first := a.batch(a.step("p"))
	a.ordinal++
	second := *first
	second.Ordinal = 2
	require.Equal(t, fsm.Refused, a.apply(&second, 1).Status)
	require.Equal(t, fsm.Refused, a.apply(first, 1).Status, "also what would have fitted")
	require.Equal(t, fsm.Accepted, a.promote("b", 2).Status)
	a.seqs["p"] = 0
	require.Equal(t, fsm.Accepted, a.commit(a.step("p")).Status)
}

func TestDivergenceStopsTheReplica(t *testing.T) {
	a := newActive(t, 3, 1)
	a.promote("a", 1)
	e := a.batch(a.step("p", "out"))
	e.Steps[0].Outputs[0] = []byte("another output")
	require.Equal(t, fsm.Diverged, a.apply(e, 1).Status)
	require.Error(t, a.states[0].Diverged())
	require.Equal(t, fsm.Diverged, a.promote("b", 2).Status)

	b := newActive(t, 3, 1)
	b.promote("a", 1)
	require.Equal(t, fsm.Accepted, b.commit(b.step("p")).Status)
	b.seqs["p"] = 0
	require.Equal(t, fsm.Diverged, b.commit(b.step("p")).Status, "an event that was applied before")

	c := newActive(t, 3, 1)
	require.Equal(t, fsm.Unreadable, c.states[0].Apply(1, 1, []byte("garbage")).Status)
	require.Error(t, c.states[0].Diverged())
}

func TestReceiptsAndTheirBounds(t *testing.T) {
	a := newActive(t, 1, 1)
	a.f.Settings.ReceiptsPerProducer, a.f.Settings.MaxReceipts, a.f.Settings.MaxProducers = 3, 5, 3
	s, err := fsm.NewState(a.f)
	require.NoError(t, err)
	a.states = []*fsm.State{s}
	a.tip, _ = chain.Genesis(a.f)
	a.promote("a", 1)
	for range 4 {
		require.Equal(t, fsm.Accepted, a.commit(a.step("p", "o1", "o2")).Status)
	}
	_, ok := s.Receipt("p", 1)
	require.False(t, ok, "only the newest are kept")
	r, ok := s.Receipt("p", 4)
	require.True(t, ok)
	require.Equal(t, uint64(7), r.FirstOutput)
	require.Equal(t, uint64(2), r.Outputs)
	require.Equal(t, s.Head().Hash, r.Hash)
	for _, p := range []string{"q", "r", "q"} {
		a.commit(a.step(p))
	}
	_, ok = s.Receipt("p", 2)
	require.False(t, ok, "the oldest of all go first")
	a.commit(a.step("s"))
	_, known := s.Session("p")
	require.False(t, known, "the least recently used producer is forgotten")
}

// Each receipt of a batch names its own link, not the batch's last.
func TestReceiptsWithinABatch(t *testing.T) {
	a := newActive(t, 3, 2)
	a.promote("a", 1)
	r := a.commit(a.step("p", "o1"), a.step("q"), a.step(""), a.step("p", "o2", "o3"))
	require.Equal(t, fsm.Accepted, r.Status)
	for i, want := range r.Steps {
		if want.Producer == "" {
			continue
		}
		got, ok := a.states[1].Receipt(want.Producer, want.Sequence)
		require.True(t, ok)
		require.Equal(t, r.Links[i].Seq, got.Seq)
		require.Equal(t, r.Links[i].Hash(), got.Hash, "step %d", i)
	}
}

func TestSilentProducersAreForgottenAtSeals(t *testing.T) {
	a := newActive(t, 3, 2)
	a.promote("a", 1)
	a.commit(a.step("old"))
	s := a.step("new")
	s.Time += int64(25 * time.Hour)
	a.commit(s)
	require.Equal(t, fsm.Accepted, a.seal().Status)
	_, known := a.states[1].Session("old")
	require.False(t, known)
	_, known = a.states[1].Session("new")
	require.True(t, known)
}

// The next active's clock may be far ahead: what passes between two actives is
// nobody's silence.
func TestTakeoverForgetsNoProducer(t *testing.T) {
	a := newActive(t, 3, 2)
	a.promote("a", 1)
	a.commit(a.step("old"))
	a.ahead = int64(365 * 24 * time.Hour)
	a.promote("b", 2)
	a.commit(a.step("new"))
	require.Equal(t, fsm.Accepted, a.seal().Status)
	last, known := a.states[1].Session("old")
	require.True(t, known)
	require.Equal(t, uint64(1), last)
	s := a.step("new")
	s.Time += int64(25 * time.Hour)
	a.commit(s)
	require.Equal(t, fsm.Accepted, a.seal().Status)
	_, known = a.states[1].Session("old")
	require.False(t, known, "silent while b served")
}

func TestFloor(t *testing.T) {
	a := newActive(t, 3, 2)
	a.promote("a", 1)
	s := a.states[0]
	var covered []uint64
	for range 3 {
		a.commit(a.step("p"), a.step("p"))
		covered = append(covered, a.tip.Head.Seq())
		require.Equal(t, fsm.Accepted, a.seal().Status)
		require.Equal(t, fsm.Accepted, a.report("a", false).Status)
		require.Equal(t, fsm.Refused, a.report("zz", true).Status)
		before := s.Floor()
		a.report("b", false)
		require.Equal(t, before, s.Floor(), "durable on a majority but verified by nobody")
		require.True(t, a.report("c", true).FloorMoved)
		require.Equal(t, covered[len(covered)-1], s.Floor())
	}
	require.Len(t, s.Checkpoints(), 2, "the floor's and the one before")
	_, err := s.Journal(covered[1] + 1)
	require.NoError(t, err)
	_, err = s.Journal(covered[0])
	require.ErrorIs(t, err, fsm.ErrPruned)
	es, err := s.Journal(covered[1] + 1)
	require.NoError(t, err)
	require.Equal(t, covered[1]+1, es[0].First)
}

// While none is settled the checkpoints that came first stay: a report on one of
// them still moves the floor. So do those of the floor, and the newest.
func TestCheckpointsThatWait(t *testing.T) {
	a := newActive(t, 3, 2)
	a.promote("a", 1)
	s := a.states[0]
	settled := func() uint64 {
		a.commit(a.step("p"))
		require.Equal(t, fsm.Accepted, a.seal().Status)
		a.report("b", false)
		require.True(t, a.report("c", true).FloorMoved)
		return s.Floor()
	}
	before, floor := settled(), settled()
	var covered []uint64
	for range 20 {
		a.commit(a.step("p"))
		covered = append(covered, a.tip.Head.Seq())
		require.Equal(t, fsm.Accepted, a.seal().Status)
	}
	refs := s.Checkpoints()
	require.Len(t, refs, 8)
	for i, seq := range []uint64{before, floor, covered[0]} {
		require.Equal(t, seq, refs[i].Seal.Seq)
	}
	require.Equal(t, covered[19], refs[7].Seal.Seq)
	require.Equal(t, floor, s.Floor())
}

// A state that went through an image behaves from then on exactly as one that did not.
func TestImageRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	a := newActive(t, 3, 2)
	term := uint64(1)
	a.promote("a", term)
	for range 300 {
		switch rng.IntN(10) {
		case 0:
			term += 1 + rng.Uint64N(3)
			require.Equal(t, fsm.Accepted, a.promote(string(rune('a'+rng.IntN(3))), term).Status)
		case 1:
			if a.seal().Status == fsm.Accepted {
				a.report("a", false)
				a.report("b", rng.IntN(2) == 0)
			}
		case 2:
			var b, c bytes.Buffer
			_, err := a.states[1].Snapshot().WriteTo(&b)
			require.NoError(t, err)
			_, err = a.states[0].Snapshot().WriteTo(&c)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b.Bytes(), c.Bytes()), "replicas agree byte for byte")
			a.states[1], err = fsm.ReadState(&b, a.f)
			require.NoError(t, err)
		default:
			var steps []fsm.Step
			for range 1 + rng.IntN(5) {
				s := a.step(fmt.Sprintf("p%d", rng.IntN(8)), []string{"x", "y", "z"}[:rng.IntN(3)]...)
				if rng.IntN(5) == 0 {
					s.Flags, s.Reason, s.Outputs = chain.Rejected, "no", nil
				}
				steps = append(steps, s)
			}
			require.Equal(t, fsm.Accepted, a.commit(steps...).Status)
		}
	}
}

func TestImageFlips(t *testing.T) {
	a := newActive(t, 3, 1)
	a.promote("a", 1)
	a.commit(a.step("p", "out"))
	a.seal()
	a.report("a", true)
	var b bytes.Buffer
	_, err := a.states[0].Snapshot().WriteTo(&b)
	require.NoError(t, err)
	img := b.Bytes()
	for i := range img {
		img[i] ^= 1 << (i % 8)
		_, err := fsm.ReadState(bytes.NewReader(img), a.f)
		require.Error(t, err, "byte %d", i)
		img[i] ^= 1 << (i % 8)
		if i%7 == 0 {
			_, err = fsm.ReadState(bytes.NewReader(img[:i]), a.f)
			require.Error(t, err)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	golden.Seed(f, "entry-batch", "entry-handoff", "entry-seal", "entry-report", "entry-noop", "report")
	f.Fuzz(func(t *testing.T, b []byte) {
		golden.Bounded(t, len(b), func() {
			if e, err := fsm.ParseEntry(b); err == nil {
				again := e.Marshal(nil)
				require.Equal(t, b, again)
				require.Equal(t, len(again), cap(again), "what is kept is no larger than it must be")
			}
			if r, err := fsm.ParseReport(b); err == nil {
				require.Equal(t, b, r.Marshal())
			}
		})
	})
}
