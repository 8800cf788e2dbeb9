package chain_test

import (
	"fmt"
	"testing"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func perSecond(b *testing.B, what string) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), what) }

// What each replica does for each event: the event's and the output's digest,
// the link, its hash, and the tree.
func BenchmarkLink(b *testing.B) {
	for _, size := range []int{16, 128, 1024, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			tip := must(chain.Genesis(testkit.Founding(1)))
			payload, outputs := make([]byte, size), [][]byte{[]byte("put k012")}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for i := uint64(1); b.Loop(); i++ {
				l := tip.Next(chain.Draft{
					Kind: chain.KindStep, Producer: "till-7", Input: chain.EventDigest("till-7", i, payload),
					NewOutputs: 1, OutputRoot: chain.OutputRoot(i, outputs),
				})
				tip.Extend(&l, l.Hash())
			}
			perSecond(b, "events/s")
		})
	}
}

func BenchmarkLinkHash(b *testing.B) {
	l := must(chain.Genesis(testkit.Founding(1))).Head.Link
	b.ReportAllocs()
	for b.Loop() {
		l.Hash()
	}
}

func BenchmarkEventDigest(b *testing.B) {
	payload := make([]byte, 128)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		chain.EventDigest("till-7", i, payload)
	}
	perSecond(b, "events/s")
}

func BenchmarkFrontier(b *testing.B) {
	genesis := must(chain.Genesis(testkit.Founding(1))).Head.Link
	leaf := chain.LeafHash(&genesis)
	b.Run("append", func(b *testing.B) {
		var f chain.Frontier
		b.ReportAllocs()
		for b.Loop() {
			f.Append(leaf)
		}
		perSecond(b, "events/s")
	})
	b.Run("root", func(b *testing.B) {
		var f chain.Frontier
		for range 1<<20 - 1 { // the deepest edge: 20 subtrees
			f.Append(leaf)
		}
		b.ReportAllocs()
		for b.Loop() {
			f.Root()
		}
	})
}
