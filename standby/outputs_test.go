package standby

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
)

// Outputs are as old as the links that brought them, compared with the newest
// one: neither a wall clock nor a restart makes them older or younger.
func TestAgeOfOutputsIsCommittedTime(t *testing.T) {
	h := newHandover(t)
	for range 5 {
		l := h.tip.Next(chain.Draft{Kind: chain.KindStep, Time: h.tip.Head.Link.Time + int64(time.Hour)})
		require.NoError(t, h.tip.Append(&l))
		require.NoError(t, h.a.hist.Append([]chain.Link{l}))
	}
	g := &Group{hist: h.a.hist, cfg: Config{OutputsAge: 2*time.Hour + time.Minute}}
	old := g.pastRetention()
	for seq, want := range []bool{true, true, true, false, false, false, false} { // 6 is not committed
		require.Equal(t, want, old(uint64(seq)), seq)
	}
}
