package chain_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
)

// Derive keeps hashers from one call for the next, in any goroutine; what an
// earlier call hashed must not show.
func TestDeriveForgetsWhatItHashedBefore(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, g))
			for range 200 {
				what := fmt.Sprintf("kind %d", rng.IntN(3))
				a, b := make([]byte, rng.IntN(20_000)), make([]byte, rng.IntN(100))
				for i := range a {
					a[i] = byte(rng.Uint32())
				}
				h := chain.NewHasher(what)
				h.Write(a)
				h.Write(b)
				if got := chain.Derive(what, a, b); got != h.Hash() {
					t.Errorf("%s of %d and %d bytes: %v", what, len(a), len(b), got)
				}
			}
		})
	}
	wg.Wait()
	require.NotEqual(t, chain.Derive("kind 1", []byte("x")), chain.Derive("kind 2", []byte("x")))
}

func TestHashesAsText(t *testing.T) {
	h := chain.Derive("kind", []byte("x"))
	for _, s := range []string{"", h.String()[1:], h.String() + "0", strings.ToUpper(h.String()), "g" + h.String()[1:], " " + h.String()[1:], strings.Repeat("\xff", 64)} {
		_, err := chain.ParseHash(s)
		require.Error(t, err, "%q", s)
		got := h
		require.Error(t, got.UnmarshalText([]byte(s)))
		require.Equal(t, h, got, "an error changes nothing")
		_, err = chain.ParseOrigin(s)
		require.Error(t, err, "%q", s)
	}
	got, err := chain.ParseHash(h.String())
	require.NoError(t, err)
	require.Equal(t, h, got)
	var o chain.Origin
	require.NoError(t, o.UnmarshalText([]byte(h.String())))
	require.Equal(t, chain.Origin(h), o)
}
