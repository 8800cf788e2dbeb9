package chain_test

import (
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	oracle "lukechampine.com/blake3"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func step(t *chain.Tip, i int, flags chain.Flags) chain.Link {
	outs := [][]byte{}
	for j := range i % 4 {
		outs = append(outs, fmt.Appendf(nil, "out %d.%d", i, j))
	}
	if flags&(chain.Rejected|chain.Refused) != 0 {
		outs = nil
	}
	return t.Next(chain.Draft{
		Kind: chain.KindStep, Flags: flags, Term: t.Head.Link.Term, Time: int64(i), Producer: fmt.Sprintf("p%d", i%5),
		Input: chain.EventDigest("p", uint64(i), []byte("x")), NewOutputs: uint64(len(outs)), OutputRoot: chain.OutputRoot(t.Head.Link.Outputs+1, outs),
	})
}

// The parent hash is BLAKE3 and the tree RFC 6962, as independent
// implementations of both say.
func TestChainAgainstOracles(t *testing.T) {
	tip, err := chain.Genesis(testkit.Founding(3))
	require.NoError(t, err)
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ix))
		for i, x := range ix {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for i := range 200 {
		b := tip.Head.Link.Bytes()
		hs, err := tlog.StoredHashes(int64(i), b[:], read)
		require.NoError(t, err)
		hashes = append(hashes, hs...)
		root, err := tlog.TreeHash(int64(i+1), read)
		require.NoError(t, err)
		require.Equal(t, chain.Hash(root), tip.Root())
		want := make([]byte, 32)
		oracle.DeriveKey(want, "understudy 2026-11-21 link v1", b[:])
		require.Equal(t, want, tip.Head.Hash[:])
		f, err := chain.NewFrontier(tip.Frontier.Size(), tip.Frontier.Hashes())
		require.NoError(t, err)
		require.Equal(t, tip.Frontier, f)

		l := step(&tip, i, chain.Flags(i%2)&chain.Rooted)
		parsed, err := chain.ParseLink(func() []byte { b := l.Bytes(); return b[:] }())
		require.NoError(t, err)
		require.Equal(t, l, parsed)
		require.NoError(t, tip.Append(&l))
	}
}

// Any single change to a link is refused, with the error that names the rule.
func TestAppendRefuses(t *testing.T) {
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(t, err)
	first := step(&tip, 7, chain.Rooted)
	require.NoError(t, tip.Append(&first))
	good := step(&tip, 9, chain.Rooted)
	for name, c := range map[string]struct {
		change func(*chain.Link)
		err    error
	}{
		"origin":   {func(l *chain.Link) { l.Origin[3]++ }, chain.ErrOrigin},
		"gap":      {func(l *chain.Link) { l.Seq++ }, chain.ErrGap},
		"again":    {func(l *chain.Link) { l.Seq-- }, chain.ErrGap},
		"parent":   {func(l *chain.Link) { l.Parent[0] ^= 1 }, chain.ErrParent},
		"root":     {func(l *chain.Link) { l.PrevRoot[31] ^= 128 }, chain.ErrRoot},
		"no flag":  {func(l *chain.Link) { l.Flags = 0 }, chain.ErrRoot},
		"term":     {func(l *chain.Link) { l.Term++ }, chain.ErrTerm},
		"handoff":  {func(l *chain.Link) { l.Kind, l.Inputs = chain.KindHandoff, l.Inputs-1 }, chain.ErrTerm},
		"time":     {func(l *chain.Link) { l.Time = 1 }, chain.ErrTime},
		"inputs":   {func(l *chain.Link) { l.Inputs++ }, chain.ErrCount},
		"outputs":  {func(l *chain.Link) { l.Outputs = 0 }, chain.ErrCount},
		"genesis":  {func(l *chain.Link) { l.Kind = chain.KindGenesis }, chain.ErrKind},
		"rejected": {func(l *chain.Link) { l.Flags |= chain.Rejected }, chain.ErrCount},
	} {
		t.Run(name, func(t *testing.T) {
			l, before := good, tip
			c.change(&l)
			require.ErrorIs(t, tip.Append(&l), c.err)
			require.Equal(t, before, tip)
		})
	}
	require.NoError(t, tip.Append(&good))
}

// The sketch of the producers only grows, by what one producer can set, and only
// with an event that was processed.
func TestAppendRefusesAnotherSketch(t *testing.T) {
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(t, err)
	first := step(&tip, 7, chain.Rooted)
	require.NoError(t, tip.Append(&first))
	seal := tip.Next(chain.Draft{Kind: chain.KindSeal, Term: first.Term})
	rejected := step(&tip, 8, chain.Rejected)
	good := step(&tip, 8, 0)
	require.NotEqual(t, first.Horizon, good.Horizon)
	for name, c := range map[string]struct {
		link    chain.Link
		horizon chain.Sketch
	}{
		"record":   {seal, good.Horizon},
		"rejected": {rejected, good.Horizon},
		"lost":     {good, good.Horizon &^ first.Horizon},
		"too many": {good, ^chain.Sketch(0)},
	} {
		t.Run(name, func(t *testing.T) {
			l, before := c.link, tip
			l.Horizon = c.horizon
			require.ErrorIs(t, tip.Append(&l), chain.ErrSketch)
			require.Equal(t, before, tip)
		})
	}
	for _, l := range []chain.Link{seal, rejected, good} {
		again := tip
		require.NoError(t, again.Append(&l))
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(t, err)
	payload := make([]byte, 1024)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		l := tip.Next(chain.Draft{Kind: chain.KindStep, Flags: chain.Rooted, Producer: "p", Input: chain.EventDigest("p", 1, payload)})
		if err := tip.Append(&l); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestOutputProofs(t *testing.T) {
	for n := 1; n <= 20; n++ {
		outs := make([][]byte, n)
		for i := range outs {
			outs[i] = fmt.Appendf(nil, "output %d", i)
		}
		root := chain.OutputRoot(5, outs)
		for i := range outs {
			leaf, path := chain.OutputLeaf(5+uint64(i), outs[i]), chain.ProveOutput(5, outs, i)
			require.NoError(t, chain.CheckOutput(root, uint64(n), uint64(i), leaf, path))
			leaf[0] ^= 1
			require.Error(t, chain.CheckOutput(root, uint64(n), uint64(i), leaf, path))
		}
		require.NotEqual(t, root, chain.OutputRoot(6, outs), "the number is part of the output")
	}
}

func TestSketchHasNoFalseNegatives(t *testing.T) {
	var s chain.Sketch
	h := chain.NewHorizon(1000)
	for i := range 300 {
		p := fmt.Sprintf("producer-%d", i)
		s = s.Add(p)
		h.Observe(p, uint64(i+1), uint64(i+1))
		require.True(t, s.Has(p))
	}
	p, err := chain.ParseHorizon(h.Marshal(), 1000)
	require.NoError(t, err)
	require.Equal(t, h.Marshal(), p.Marshal())
}

func TestHorizonForgetsTheLeastRecent(t *testing.T) {
	h := chain.NewHorizon(2)
	h.Observe("a", 1, 1)
	h.Observe("b", 1, 2)
	h.Observe("a", 2, 3)
	h.Observe("c", 1, 4)
	_, ok := h.Get("b")
	require.False(t, ok)
	n, ok := h.Get("a")
	require.True(t, ok)
	require.Equal(t, uint64(2), n)
}

func TestEnvelope(t *testing.T) {
	k, err := chain.NewKeypair(rand.Reader)
	require.NoError(t, err)
	box, err := chain.NewBoxKey(rand.Reader)
	require.NoError(t, err)
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(t, err)
	link := tip.Head.Link
	env, err := chain.SealIdentity(rand.Reader, k, box.Public(), &link)
	require.NoError(t, err)
	require.Len(t, env, chain.EnvelopeSize)
	got, err := chain.OpenIdentity(env, box, &link, k.ID())
	require.NoError(t, err)
	require.Equal(t, k.ID(), got.ID())
	for i := range env {
		bad := append([]byte(nil), env...)
		bad[i] ^= 1 << (i % 8)
		_, err := chain.OpenIdentity(bad, box, &link, k.ID())
		require.ErrorIs(t, err, chain.ErrEnvelope, "byte %d", i)
	}
	other := step(&tip, 3, 0)
	_, err = chain.OpenIdentity(env, box, &other, k.ID())
	require.ErrorIs(t, err, chain.ErrEnvelope)
	_, err = chain.SealIdentity(rand.Reader, chain.PublicOnly(k.ID()), box.Public(), &link)
	require.ErrorIs(t, err, chain.ErrReadOnly)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %x", k, k, k, k), fmt.Sprintf("%x", must(k.Seed())))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Every record reads back as it was written, and no other bytes do.
func TestRecordsAreStrict(t *testing.T) {
	f := testkit.Founding(3)
	tip := must(chain.Genesis(f))
	key := testkit.Keys("a").Log
	h := chain.Handoff{Term: 3, Seq: 1, Member: "a", Time: 5, Anchor: chain.AnchorOf(&tip), Roster: f.Roster.Digest()}
	require.NoError(t, h.Sign(key))
	require.True(t, h.Verify(key.ID()))
	seal := chain.Seal{Seq: 6, Frontier: make([]chain.Hash, 3), Size: 99}
	for name, c := range map[string]struct {
		b     []byte
		parse func([]byte) (interface{ Marshal() []byte }, error)
	}{
		"founding": {f.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return chain.ParseFounding(b) }},
		"roster":   {f.Roster.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return chain.ParseRoster(b) }},
		"handoff":  {h.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return chain.ParseHandoff(b) }},
		"seal":     {seal.Marshal(), func(b []byte) (interface{ Marshal() []byte }, error) { return chain.ParseSeal(b) }},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := c.parse(c.b)
			require.NoError(t, err)
			require.Equal(t, c.b, v.Marshal())
			for i := range c.b {
				_, err := c.parse(c.b[:i])
				require.ErrorIs(t, err, chain.ErrRecord)
			}
			_, err = c.parse(append(c.b[:len(c.b):len(c.b)], 0))
			require.ErrorIs(t, err, chain.ErrRecord)
			rng := mrand.New(mrand.NewPCG(1, 2))
			for range 2000 {
				bad := append([]byte(nil), c.b...)
				bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
				if v, err := c.parse(bad); err == nil {
					require.Equal(t, bad, v.Marshal(), "decoding is one to one")
				}
			}
		})
	}
}

// Every decoder of the package takes any bytes: what it accepts encodes to
// exactly them.
func FuzzParse(f *testing.F) {
	golden.Seed(f, "founding", "roster", "handoff", "seal", "horizon")
	links := golden.Read(f, "links")
	for i := 0; i < len(links); i += chain.LinkSize {
		f.Add(links[i : i+chain.LinkSize])
	}
	type record interface{ Marshal() []byte }
	parsers := map[string]func([]byte) (record, error){
		"founding": func(b []byte) (record, error) { return chain.ParseFounding(b) },
		"roster":   func(b []byte) (record, error) { return chain.ParseRoster(b) },
		"handoff":  func(b []byte) (record, error) { return chain.ParseHandoff(b) },
		"seal":     func(b []byte) (record, error) { return chain.ParseSeal(b) },
		"horizon":  func(b []byte) (record, error) { return chain.ParseHorizon(b, 100_000) },
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := chain.ParseLink(b); err == nil {
			back := l.Bytes()
			require.Equal(t, b, back[:])
		}
		golden.Bounded(t, len(b)*len(parsers), func() {
			for name, parse := range parsers {
				if v, err := parse(b); err == nil {
					require.Equal(t, b, v.Marshal(), name)
				}
			}
		})
	})
}

// An envelope that its signer signed, whatever is in it, opens to the signer's
// key or not at all.
func FuzzOpenIdentity(f *testing.F) {
	k, target := testkit.Keys("a").Log, testkit.Keys("b").Box
	tip := must(chain.Genesis(foundingFixture()))
	link := tip.Head.Link
	lb := link.Bytes()
	env := golden.Read(f, "envelope")
	f.Add(env)
	f.Add(env[:len(env)-64])
	f.Fuzz(func(t *testing.T, b []byte) {
		digest := chain.Derive("envelope", b, lb[:])
		for _, env := range [][]byte{b, append(b[:len(b):len(b)], must(k.Sign(digest[:]))...)} {
			if got, err := chain.OpenIdentity(env, target, &link, k.ID()); err == nil {
				require.Equal(t, k, got)
				require.Len(t, env, chain.EnvelopeSize)
			}
		}
	})
}

func BenchmarkNextAppend(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			tip := must(chain.Genesis(testkit.Founding(1)))
			payload := make([]byte, size)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l := tip.Next(chain.Draft{Kind: chain.KindStep, Producer: "p", Input: chain.EventDigest("p", uint64(i), payload)})
				tip.Extend(&l, l.Hash())
			}
		})
	}
}

func BenchmarkDerive(b *testing.B) {
	for _, size := range []int{128, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			head, payload := make([]byte, 28), make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				chain.Derive("stored output", head, payload)
			}
		})
	}
}

func ExampleTip() {
	tip, _ := chain.Genesis(testkit.Founding(3)) // every member computes the same
	link := tip.Next(chain.Draft{
		Kind: chain.KindStep, Time: 1, Producer: "till-7",
		Input: chain.EventDigest("till-7", 1, []byte("sell one apple")),
	})
	fmt.Println(tip.Append(&link), tip.Head.Seq(), tip.Head.Link.Inputs)
	link.Parent[0] ^= 1 // anybody can tell
	fmt.Println(tip.Append(&link) != nil)
	// Output:
	// <nil> 1 1
	// true
}
