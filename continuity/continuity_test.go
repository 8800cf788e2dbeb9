package continuity_test

import (
	"encoding/base64"
	"fmt"
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
	newest  uint64
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
	h := chain.Handoff{
		Reason: chain.ReasonActiveFailed, Term: m.active.Term + 2, OldTerm: m.active.Term, Seq: m.Size(), PrevHandoff: m.newest,
		Roster: m.f.Roster.Digest(), OldMember: m.active.Member, Member: to, Anchor: chain.AnchorOf(&m.tip),
	}
	if err := h.Sign(testkit.Keys(to).Log); err != nil {
		panic(err)
	}
	rec := h.Marshal()
	m.records[m.Size()] = rec
	m.active, m.newest = h, m.Size()
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
	b, err := continuity.Prove(m, m.f, old, m.treeHead(m.active.Member), m.newest)
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
	wrong, err := continuity.Prove(m, m.f, 3, m.treeHead("b"), m.newest)
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

func TestChainOfBundles(t *testing.T) {
	m := newMemory().handoff("a").steps(3)
	held := m.held(2)
	first := m.prove(t, 2)
	mid := m.Size()
	m.handoff("b").steps(4)
	second := m.prove(t, mid)
	v, err := continuity.VerifyChain([][]byte{first, second}, held, m.f)
	require.NoError(t, err)
	require.Equal(t, uint64(2), v.From)
	require.Len(t, v.Handoffs, 1)
	_, err = continuity.VerifyChain([][]byte{second, first}, held, m.f)
	require.Error(t, err)
	_, err = continuity.VerifyChain(nil, held, m.f)
	require.ErrorIs(t, err, continuity.ErrUnverifiable)
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
	bundle, _ := continuity.Prove(m, m.f, held.Size, m.treeHead("b"), m.newest)

	verdict, err := continuity.Verify(bundle, held, m.f)
	fmt.Println(verdict, err)
	// Output: continuous from size 7 to 10008, 1 handoff; 1 member vouches for the tree head: [b] <nil>
}
