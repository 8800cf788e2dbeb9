package chain_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/blake3"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// foundingFixture has a value in every field.
func foundingFixture() *chain.Founding {
	f := testkit.Founding(3)
	f.Nonce = [32]byte{1, 2, 3, 31: 32}
	f.Recovery = chain.Recovery{Need: 1, Keys: []chain.EntityID{testkit.Keys("operator").Log.ID(), testkit.Keys("deputy").Log.ID()}}
	f.Roster.Threshold = 2
	f.Roster.Members[2].Flags = chain.Voter | chain.Witness
	return f
}

// story is a short chain with a link of each kind that is made today, and the
// records of those that have one.
type story struct {
	f       *chain.Founding
	tips    []chain.Tip
	handoff chain.Handoff
	seal    chain.Seal
}

func tell() (s story) {
	s.f = foundingFixture()
	tip := must(chain.Genesis(s.f))
	s.tips = []chain.Tip{tip}
	add := func(d chain.Draft) {
		l := tip.Next(d)
		if err := tip.Append(&l); err != nil {
			panic(err)
		}
		s.tips = append(s.tips, tip)
	}
	outs := [][]byte{[]byte("one"), {}, []byte("three")}
	s.handoff = chain.Handoff{
		Reason: chain.ReasonPlanned, Term: 7, OldTerm: 3, Seq: 1, RaftIndex: 11, PrevHandoff: 5, Time: 1_000_000_001, Roster: s.f.Roster.Digest(),
		OldMember: "a", Member: "b", Anchor: chain.AnchorOf(&tip), CheckpointSeq: 9, Replayed: 13,
	}
	s.handoff.Release = must(chain.SignRelease(testkit.Keys("a").Log, s.f.Origin(), s.handoff.Anchor, s.handoff.OldTerm, s.handoff.Member))
	if err := s.handoff.Sign(testkit.Keys("b").Log); err != nil {
		panic(err)
	}
	add(chain.Draft{Kind: chain.KindHandoff, Term: 7, Time: s.handoff.Time, Input: chain.RecordDigest(chain.KindHandoff, s.handoff.Marshal())})
	add(chain.Draft{Kind: chain.KindStep, Term: 7, Time: 1_000_000_002, Producer: "till-7",
		Input: chain.EventDigest("till-7", 42, []byte("sell one apple")), NewOutputs: 3, OutputRoot: chain.OutputRoot(1, outs)})
	add(chain.Draft{Kind: chain.KindStep, Flags: chain.Rooted | chain.Rejected, Term: 7, Time: 1_000_000_003, Producer: "till-8",
		Input: chain.EventDigest("till-8", 1, nil)})
	h := chain.NewHorizon(10)
	h.Observe("till-7", 42, 2)
	s.seal = chain.Seal{
		Seq: 3, Link: tip.Head.Hash, Frontier: tip.Frontier.Hashes(), Inputs: 2, Outputs: 3,
		Horizon: h.Digest(), Manifest: chain.Hash{0xaa, 31: 0xbb}, Size: 4096,
	}
	add(chain.Draft{Kind: chain.KindSeal, Term: 7, Time: 1_000_000_004, Input: chain.RecordDigest(chain.KindSeal, s.seal.Marshal())})
	return s
}

func TestGoldenLinks(t *testing.T) {
	s := tell()
	var all []byte
	for i := range s.tips {
		b := s.tips[i].Head.Link.Bytes()
		all = append(all, b[:]...)
	}
	golden.Bytes(t, "links", all)
	want := golden.Read(t, "links")
	for i := range s.tips {
		l, err := chain.ParseLink(want[i*chain.LinkSize : (i+1)*chain.LinkSize])
		require.NoError(t, err)
		require.Equal(t, s.tips[i].Head.Link, l)
	}
}

func TestGoldenRecords(t *testing.T) {
	s := tell()
	h := chain.NewHorizon(10)
	h.Observe("till-7", 42, 2)
	h.Observe("counter", 1, 4)
	type record interface{ Marshal() []byte }
	for name, c := range map[string]struct {
		value record
		parse func([]byte) (record, error)
	}{
		"founding": {s.f, func(b []byte) (record, error) { return chain.ParseFounding(b) }},
		"roster":   {&s.f.Roster, func(b []byte) (record, error) { return chain.ParseRoster(b) }},
		"handoff":  {&s.handoff, func(b []byte) (record, error) { return chain.ParseHandoff(b) }},
		"seal":     {&s.seal, func(b []byte) (record, error) { return chain.ParseSeal(b) }},
		"horizon":  {h, func(b []byte) (record, error) { return chain.ParseHorizon(b, 10) }},
	} {
		t.Run(name, func(t *testing.T) {
			golden.Bytes(t, name, c.value.Marshal())
			v, err := c.parse(golden.Read(t, name))
			require.NoError(t, err)
			require.Equal(t, c.value, v)
		})
	}
	require.True(t, s.handoff.Verify(testkit.Keys("b").Log.ID()))
	require.True(t, s.handoff.VerifyRelease(s.f.Origin(), testkit.Keys("a").Log.ID()))
}

// Every digest that is stored or signed, by name.
func TestGoldenDigests(t *testing.T) {
	s := tell()
	var b bytes.Buffer
	row := func(name string, v any) { fmt.Fprintf(&b, "%-24s %v\n", name, v) }
	outs := [][]byte{[]byte("one"), {}, []byte("three")}
	row("origin", s.f.Origin())
	row("roster", s.f.Roster.Digest())
	row("event", chain.EventDigest("till-7", 42, []byte("sell one apple")))
	row("event without producer", chain.EventDigest("", 0, []byte("sell one apple")))
	row("producer", chain.Derive("producer", []byte("till-7")))
	row("output leaf 1", chain.OutputLeaf(1, outs[0]))
	for n := range 4 {
		row(fmt.Sprintf("output root of %d", n), chain.OutputRoot(1, outs[:n]))
	}
	for _, k := range []chain.Kind{chain.KindGenesis, chain.KindHandoff, chain.KindRoster, chain.KindSeal, chain.KindFork} {
		row("record "+k.String(), chain.RecordDigest(k, []byte("record")))
	}
	row("horizon", chain.NewHorizon(1).Digest())
	row("sketch of till-7", fmt.Sprintf("%016x", uint64(chain.Sketch(0).Add("till-7"))))
	for i := range s.tips {
		t := &s.tips[i]
		row(fmt.Sprintf("link %d", i), t.Head.Hash)
		row(fmt.Sprintf("leaf %d", i), chain.LeafHash(&t.Head.Link))
		row(fmt.Sprintf("root of %d", i+1), t.Root())
	}
	golden.Text(t, "digests", b.Bytes())
}

func TestGoldenEnvelope(t *testing.T) {
	k, target := testkit.Keys("a").Log, testkit.Keys("b").Box
	tip := must(chain.Genesis(foundingFixture()))
	link := &tip.Head.Link
	env, err := chain.SealIdentity(bytes.NewReader(bytes.Repeat([]byte{7}, 32)), k, target.Public(), link)
	require.NoError(t, err)
	golden.Bytes(t, "envelope", env)
	got, err := chain.OpenIdentity(golden.Read(t, "envelope"), target, link, k.ID())
	require.NoError(t, err)
	require.Equal(t, k, got)
}

// Our hashers are derive_key of BLAKE3: the published vectors, of which the
// first 32 bytes are here, hold for the library, and our contexts are what the
// hashers are made with. The input is 0, 1, 2 … 250, 0, 1 …
func TestPublishedBLAKE3(t *testing.T) {
	for n, want := range map[int]string{
		0:      "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
		1:      "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
		1023:   "74a16c1c3d44368a86e1ca6df64be6a2f64cce8f09220787450722d85725dea5",
		1024:   "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706",
		1025:   "effaa245f065fbf82ac186839a249707c3bddf6d3fdda22d1b95a3c970379bcb",
		2049:   "2ea477c5515cc3dd606512ee72bb3e0e758cfae7232826f35fb98ca1bcbdf273",
		31_744: "39772aef80e0ebe60596361e45b061e8f417429d529171b6764468c22928e28e",
	} {
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(i % 251)
		}
		h := blake3.NewDeriveKey("BLAKE3 2019-12-27 16:29:52 test vectors context")
		h.Write(in)
		require.Equal(t, want, hex.EncodeToString(h.Sum(nil)[:32]), "%d bytes", n)
		ours := blake3.NewDeriveKey("understudy 2026-11-21 link v1")
		ours.Write(in)
		require.Equal(t, chain.Hash(ours.Sum(nil)[:32]), chain.Derive("link", in))
	}
}

// The frontier has the roots of the eight-leaf tree that Certificate
// Transparency's implementations publish for RFC 6962.
func TestPublishedRFC6962(t *testing.T) {
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var f chain.Frontier
	require.Equal(t, roots[0], f.Root().String())
	for i, leaf := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		data := must(hex.DecodeString(leaf))
		f.Append(sha256.Sum256(append([]byte{0}, data...)))
		require.Equal(t, roots[i+1], f.Root().String(), "%d leaves", i+1)
	}
}
