package continuity_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// memory is a history in memory, and the story that made it.
type memory struct {
	f       *chain.Founding
	tip     chain.Tip
	heads   []chain.Head
	roots   []chain.Hash
	hashes  []tlog.Hash
	records map[uint64][]byte
	active  chain.Handoff
	changes []uint64 // seqs of the handoffs
}

func (m *memory) Size() uint64                        { return uint64(len(m.heads)) }
func (m *memory) Link(seq uint64) (chain.Link, error) { return m.heads[seq].Link, nil }
func (m *memory) Record(seq uint64) ([]byte, error)   { return m.records[seq], nil }
func (m *memory) ReadHashes(ix []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(ix))
	for i, x := range ix {
		out[i] = m.hashes[x]
	}
	return out, nil
}

func (m *memory) note(l *chain.Link) {
	hs, err := tlog.StoredHashesForRecordHash(int64(l.Seq), tlog.Hash(chain.LeafHash(l)), m)
	if err != nil {
		panic(err)
	}
	m.hashes = append(m.hashes, hs...)
	m.heads = append(m.heads, m.tip.Head)
	m.roots = append(m.roots, m.tip.Root())
}

func newMemory() *memory {
	m := &memory{f: testkit.Founding(3), records: map[uint64][]byte{}}
	m.tip, _ = chain.Genesis(m.f)
	m.note(&m.tip.Head.Link)
	return m
}

func (m *memory) add(l chain.Link) {
	if err := m.tip.Append(&l); err != nil {
		panic(err)
	}
	m.note(&l)
}

// steps adds n steps; the last one is rooted, as in an entry.
func (m *memory) steps(n int) *memory {
	for i := range n {
		d := chain.Draft{Kind: chain.KindStep, Term: m.tip.Head.Link.Term, Input: chain.EventDigest("p", m.Size(), nil)}
		if i == n-1 {
			d.Flags = chain.Rooted
		}
		m.add(m.tip.Next(d))
	}
	return m
}

func (m *memory) handoff(to string) *memory {
	var prev uint64
	if n := len(m.changes); n > 0 {
		prev = m.changes[n-1]
	}
	h := chain.Handoff{
		Reason: chain.ReasonActiveFailed, Term: m.active.Term + 2, OldTerm: m.active.Term, Seq: m.Size(), PrevHandoff: prev,
		Roster: m.f.Roster.Digest(), OldMember: m.active.Member, Member: to, Anchor: chain.AnchorOf(&m.tip),
	}
	if err := h.Sign(testkit.Keys(to).Log); err != nil {
		panic(err)
	}
	rec := h.Marshal()
	m.records[m.Size()] = rec
	m.active, m.changes = h, append(m.changes, m.Size())
	m.add(m.tip.Next(chain.Draft{Kind: chain.KindHandoff, Term: h.Term, Input: chain.RecordDigest(chain.KindHandoff, rec)}))
	return m
}

func (m *memory) treeHead(signer string) []byte {
	b, err := continuity.SignTreeHead(m.f.Group, m.f.Origin(), m.Size(), m.tip.Root(), testkit.Keys(signer).Log)
	if err != nil {
		panic(err)
	}
	return b
}

func (m *memory) prove(t *testing.T, old uint64) []byte {
	b, err := continuity.Prove(m, m.f, old, m.treeHead(m.active.Member), m.changes)
	require.NoError(t, err)
	return b
}

func (m *memory) held(size uint64) continuity.Held {
	return continuity.Held{Size: size, Hash: m.heads[size-1].Hash}
}

// story is a history with several actives and links of all sorts.
func story() *memory {
	return newMemory().handoff("a").steps(5).steps(1).handoff("b").handoff("c").steps(9).handoff("a").steps(3)
}

// From every head that ever was to the one of now, by hash, by root and by both.
func TestEveryHeadCanBeContinued(t *testing.T) {
	m := story()
	for old := uint64(1); old <= m.Size(); old++ {
		b := m.prove(t, old)
		require.LessOrEqual(t, len(b), 6<<10)
		for _, held := range []continuity.Held{m.held(old), {Size: old, Root: m.roots[old-1]}, {Size: old, Hash: m.heads[old-1].Hash, Root: m.roots[old-1]}} {
			v, err := continuity.Verify(b, held, m.f)
			require.NoError(t, err, "from %d", old)
			require.Equal(t, []string{"a"}, v.Vouching)
			require.Equal(t, m.tip.Head.Hash, v.Head)
			want := 0
			for seq := range m.records {
				if seq >= old {
					want++
				}
			}
			require.Len(t, v.Handoffs, want)
		}
		for other := uint64(1); other <= m.Size(); other++ {
			if other != old {
				_, err := continuity.Verify(b, m.held(other), m.f)
				require.ErrorIs(t, err, continuity.ErrUnverifiable)
			}
		}
	}
}

func TestEverySingleBitFlipIsRefused(t *testing.T) {
	m := story()
	b, held := m.prove(t, 4), m.held(4)
	_, err := continuity.Verify(b, held, m.f)
	require.NoError(t, err)
	for i := range b {
		for bit := range 8 {
			if testing.Short() && bit != i%8 {
				continue
			}
			b[i] ^= 1 << bit
			_, err := continuity.Verify(b, held, m.f)
			require.ErrorIs(t, err, continuity.ErrUnverifiable, "byte %d bit %d", i, bit)
			b[i] ^= 1 << bit
		}
	}
	for i := range b {
		_, err := continuity.Verify(b[:i], held, m.f)
		require.ErrorIs(t, err, continuity.ErrUnverifiable)
	}
}

// golang.org/x/mod alone accepts the consistency part.
func TestConsistencyPartByXMod(t *testing.T) {
	m := story()
	old := uint64(6)
	_, tail, _ := strings.Cut(string(m.prove(t, old)), "\nold 6\n")
	part, note, _ := strings.Cut(tail, "\n\n")
	var proof tlog.TreeProof
	for _, l := range strings.Split(part, "\n") {
		h, err := tlog.ParseHash(l)
		require.NoError(t, err)
		proof = append(proof, h)
	}
	lines := strings.Split(note, "\n")
	root, err := base64.StdEncoding.DecodeString(lines[2])
	require.NoError(t, err)
	require.NoError(t, tlog.CheckTree(proof, int64(m.Size()), tlog.Hash(root), int64(old), tlog.Hash(m.roots[old-1])))
}

// A handoff cannot be left out, and only the newest active can vouch.
func TestLies(t *testing.T) {
	m := story()
	b := string(m.prove(t, 3))
	groups := strings.Split(b, "handoff ")
	require.Len(t, groups, 4)
	for drop := 1; drop <= 3; drop++ {
		var left []string
		left = append(left, groups[0])
		for i := 1; i < len(groups); i++ {
			g := groups[i]
			if i == drop {
				if _, rest, ok := strings.Cut(g, "\nhead "); ok {
					left[len(left)-1] += "head " + rest
				}
				continue
			}
			left = append(left, g)
		}
		_, err := continuity.Verify([]byte(strings.Join(left, "handoff ")), m.held(3), m.f)
		require.ErrorIs(t, err, continuity.ErrUnverifiable, "without handoff %d", drop)
	}
	wrong, err := continuity.Prove(m, m.f, 3, m.treeHead("b"), m.changes)
	require.NoError(t, err)
	_, err = continuity.Verify(wrong, m.held(3), m.f)
	require.ErrorContains(t, err, "not signed by a")

	fork := newMemory().handoff("a").steps(2).steps(1).handoff("b").steps(40)
	_, err = continuity.Verify(fork.prove(t, 5), m.held(5), m.f)
	require.ErrorIs(t, err, continuity.ErrUnverifiable, "another history")
	other := testkit.Founding(2)
	_, err = continuity.Verify([]byte(b), m.held(3), other)
	require.ErrorContains(t, err, "another group")
}

func TestSeveralBundles(t *testing.T) {
	m := newMemory().handoff("a").steps(3)
	held := m.held(2)
	first := m.prove(t, 2)
	mid := m.Size()
	m.handoff("b").steps(4)
	second := m.prove(t, mid)
	v, err := continuity.Verify(slices.Concat(first, second), held, m.f)
	require.NoError(t, err)
	require.Equal(t, uint64(2), v.From)
	require.Len(t, v.Handoffs, 1)
	for _, wrong := range [][]byte{slices.Concat(second, first), slices.Concat(first, first), slices.Concat(first, second, m.prove(t, m.Size())), nil} {
		_, err = continuity.Verify(wrong, held, m.f)
		require.ErrorIs(t, err, continuity.ErrUnverifiable)
	}
}

// One changed bit in each byte of several bundles, and each of their beginnings.
func TestFlipsInSeveralBundles(t *testing.T) {
	m := newMemory().handoff("a").steps(3)
	held := m.held(2)
	first := m.prove(t, 2)
	mid := m.Size()
	m.handoff("b").steps(4)
	proof := slices.Concat(first, m.prove(t, mid))
	_, err := continuity.Verify(proof, held, m.f)
	require.NoError(t, err)
	for i := range proof {
		p := slices.Clone(proof)
		p[i] ^= 1 << (i % 8)
		_, err := continuity.Verify(p, held, m.f)
		require.ErrorIs(t, err, continuity.ErrUnverifiable, "byte %d", i)
		_, err = continuity.Verify(proof[:i], held, m.f)
		require.Equal(t, i == len(first), err == nil, "the first %d bytes", i)
	}
}

// A tree head of more links than trees can have does not keep a verifier busy.
func TestHugeTreeHead(t *testing.T) {
	m := newMemory().handoff("a").steps(3)
	b := m.prove(t, 2)
	huge, err := continuity.SignTreeHead(m.f.Group, m.f.Origin(), continuity.MaxSize+1, m.tip.Root(), testkit.Keys("a").Log)
	require.NoError(t, err)
	i := bytes.Index(b, []byte("\n\n"))
	_, err = continuity.Verify(append(b[:i+2:i+2], huge...), m.held(2), m.f)
	require.ErrorIs(t, err, continuity.ErrUnverifiable)
}

// A handoff says who gave the role away and why: the word of the new active is
// not enough for it.
func TestHandoffsSayWhatWas(t *testing.T) {
	m := newMemory().handoff("b").handoff("a").steps(3)
	held, at := m.held(2), chain.AnchorOf(&m.tip)
	release := func(by, to string) []byte {
		sig, err := chain.SignRelease(testkit.Keys(by).Log, m.f.Origin(), at, m.active.Term, to)
		require.NoError(t, err)
		return sig
	}
	for _, c := range []struct {
		h    chain.Handoff
		good bool
	}{
		{chain.Handoff{Reason: chain.ReasonActiveFailed, OldMember: "a"}, true},
		{chain.Handoff{Reason: chain.ReasonPlanned, OldMember: "a", Release: release("a", "c")}, true},
		{chain.Handoff{Reason: chain.ReasonPlanned, OldMember: "a"}, false},
		{chain.Handoff{Reason: chain.ReasonPlanned, OldMember: "a", Release: release("c", "c")}, false},
		{chain.Handoff{Reason: chain.ReasonPlanned, OldMember: "a", Release: release("a", "b")}, false},
		{chain.Handoff{Reason: chain.ReasonActiveFailed, OldMember: "a", Release: release("a", "c")}, false},
		{chain.Handoff{Reason: chain.ReasonActiveFailed, OldMember: "b"}, false},
		{chain.Handoff{Reason: chain.ReasonFirst}, false},
	} {
		x := *m
		x.records, x.changes, x.hashes = maps.Clone(m.records), slices.Clone(m.changes), slices.Clone(m.hashes)
		x.heads, x.roots = slices.Clone(m.heads), slices.Clone(m.roots)
		c.h.Term, c.h.OldTerm, c.h.Seq, c.h.PrevHandoff = m.active.Term+1, m.active.Term, m.Size(), m.changes[1]
		c.h.Roster, c.h.Member, c.h.Anchor = m.f.Roster.Digest(), "c", at
		require.NoError(t, c.h.Sign(testkit.Keys("c").Log))
		rec := c.h.Marshal()
		x.records[x.Size()], x.active, x.changes = rec, c.h, append(x.changes, x.Size())
		x.add(x.tip.Next(chain.Draft{Kind: chain.KindHandoff, Term: c.h.Term, Input: chain.RecordDigest(chain.KindHandoff, rec)}))
		b, err := continuity.Prove(&x, x.f, held.Size, x.treeHead("c"), x.changes)
		if err == nil {
			_, err = continuity.Verify(b, held, m.f)
		}
		require.Equal(t, c.good, err == nil, "%s of %q: %v", c.h.Reason, c.h.OldMember, err)
	}
}

// Each handoff raises the term: it is what fences off the actives before.
func TestHandoffsRaiseTheTerm(t *testing.T) {
	for raise, good := range map[int]bool{1: true, 0: false, -1: false} {
		m := newMemory().handoff("b").steps(3)
		held, at := m.held(3), m.active.Term
		h := chain.Handoff{
			Reason: chain.ReasonActiveFailed, Term: uint64(int(at) + raise), OldTerm: at, Seq: m.Size(), PrevHandoff: m.changes[0],
			Roster: m.f.Roster.Digest(), OldMember: "b", Member: "a", Anchor: chain.AnchorOf(&m.tip),
		}
		require.NoError(t, h.Sign(testkit.Keys("a").Log))
		rec := h.Marshal()
		m.records[m.Size()], m.active, m.changes = rec, h, append(m.changes, m.Size())
		l := m.tip.Next(chain.Draft{Kind: chain.KindHandoff, Term: h.Term, Input: chain.RecordDigest(chain.KindHandoff, rec)})
		m.tip.Extend(&l, l.Hash()) // Append would not take it
		m.note(&l)
		b, err := continuity.Prove(m, m.f, held.Size, m.treeHead("a"), m.changes)
		if err == nil {
			_, err = continuity.Verify(b, held, m.f)
		}
		require.Equal(t, good, err == nil, "from term %d to %d: %v", at, h.Term, err)
	}
}

// No proof comes from damaged hashes, and no root to sign.
func TestDamagedHashes(t *testing.T) {
	m := newMemory()
	for i := range 40 {
		m.handoff(string(rune('a' + i%3))).steps(1)
	}
	to := continuity.Reach(3, m.Size(), m.changes)
	note, err := continuity.SignTreeHead(m.f.Group, m.f.Origin(), to, m.roots[to-1], testkit.Keys("a").Log)
	require.NoError(t, err)
	harmful := 0
	for i := range m.hashes {
		m.hashes[i][7] ^= 1
		if _, err := continuity.Prove(m, m.f, 3, note, m.changes); err != nil {
			harmful++
		}
		if root, err := continuity.RootAt(m, to); err == nil {
			require.Equal(t, m.roots[to-1], root)
		}
		m.hashes[i][7] ^= 1
	}
	require.Greater(t, harmful, 20)
}

// inSteps proves from a size to now as [standby.Group.Prove] and its callers do:
// the active of now signs for all of them.
func (m *memory) inSteps(t *testing.T, old uint64) (bundles [][]byte) {
	for old < m.Size() {
		to := continuity.Reach(old, m.Size(), m.changes)
		note, err := continuity.SignTreeHead(m.f.Group, m.f.Origin(), to, m.roots[to-1], testkit.Keys(m.active.Member).Log)
		require.NoError(t, err)
		b, err := continuity.Prove(m, m.f, old, note, m.changes)
		require.NoError(t, err)
		bundles, old = append(bundles, b), to
	}
	return bundles
}

// However many handoffs there were, whoever holds any head gets a proof, whose
// bundles are all needed.
func TestManyHandoffs(t *testing.T) {
	m := newMemory()
	for i := range 130 {
		m.handoff(string(rune('a' + i%3))).steps(i % 4)
	}
	step := uint64(7)
	if testing.Short() {
		step = 49
	}
	for old := uint64(1); old < m.Size(); old += step {
		bundles := m.inSteps(t, old)
		v, err := continuity.Verify(slices.Concat(bundles...), m.held(old), m.f)
		require.NoError(t, err)
		want := 0
		for _, h := range m.changes {
			if h >= old {
				want++
			}
		}
		require.Len(t, v.Handoffs, want)
		require.Equal(t, continuity.Verdict{From: old, To: m.Size(), Head: m.tip.Head.Hash, Root: m.tip.Root()},
			continuity.Verdict{From: v.From, To: v.To, Head: v.Head, Root: v.Root})
		require.Len(t, bundles, max(1, (want+continuity.MaxHandoffs-1)/continuity.MaxHandoffs))
		for i := range bundles {
			if len(bundles) > 1 {
				v, err := continuity.Verify(slices.Concat(slices.Delete(slices.Clone(bundles), i, i+1)...), m.held(old), m.f)
				if i == len(bundles)-1 && err == nil { // its signer was active then too: it proves up to there
					require.Less(t, v.To, m.Size())
					continue
				}
				require.ErrorIs(t, err, continuity.ErrUnverifiable, "without bundle %d of %d", i, len(bundles))
			}
		}
	}
	_, err := continuity.Prove(m, m.f, 1, m.treeHead(m.active.Member), m.changes)
	require.ErrorIs(t, err, continuity.ErrTooLong)
}

// A bundle keeps its bound in a tree of 2^40 links too.
func TestLongestBundle(t *testing.T) {
	m := newMemory()
	for range continuity.MaxHandoffs {
		m.handoff("a")
	}
	b := m.prove(t, 1)
	path := (40 - bits.Len64(m.Size())) * 45 // bytes that each of its paths and frontiers would have more
	require.Less(t, len(b)+(continuity.MaxHandoffs+3)*path, continuity.MaxBundle)
}

func TestHeadLine(t *testing.T) {
	m := story()
	b := continuity.FormatHead(m.f.Group, m.f.Origin(), m.heads[7])
	h, err := continuity.ParseHead(b, m.f)
	require.NoError(t, err)
	require.Equal(t, m.held(8), h)
	_, err = continuity.ParseHead(b, testkit.Founding(1))
	require.Error(t, err)
}

func Example() {
	m := newMemory().handoff("a").steps(5)
	held := m.held(m.Size()) // all that the verifier keeps: a size and 32 bytes
	m.handoff("b").steps(10_000)
	bundle, _ := continuity.Prove(m, m.f, held.Size, m.treeHead("b"), m.changes)

	verdict, err := continuity.Verify(bundle, held, m.f)
	fmt.Println(verdict, err)
	// Output: continuous from size 7 to 10008, 1 handoff; 1 member vouches for the tree head: [b] <nil>
}
