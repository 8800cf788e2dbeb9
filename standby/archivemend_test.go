package standby

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/outputs"
)

func (h *handover) smallFiles() {
	var err error
	h.a.outs, err = outputs.Open(h.disk.Sub("outputs"), outputs.Retention{Bytes: 1 << 40, SegmentBytes: 1000})
	require.NoError(h.t, err)
}

// A member with damage at the end of what it has, which then gets a Raft
// snapshot, is whole again.
func TestHealBehindDamage(t *testing.T) {
	for _, what := range []string{"newest file, no restart", "older file, the newest is empty"} {
		t.Run(what, func(t *testing.T) {
			h, other := newHandover(t), newHandover(t)
			h.smallFiles()
			other.smallFiles()
			for range 60 {
				h.entry(1)
				other.entry(1)
				require.True(t, h.a.whole())
				require.True(t, other.a.whole())
			}
			require.Equal(t, h.tip.Head, other.tip.Head)
			require.NoError(t, h.a.settle())
			names, err := h.disk.Sub("outputs").List(".")
			require.NoError(t, err)
			require.Greater(t, len(names), 2)
			newest, before := "outputs/"+names[len(names)-1], "outputs/"+names[len(names)-2]
			if strings.HasPrefix(what, "newest") {
				f, err := h.disk.Sub(".").Open(newest, false)
				require.NoError(t, err)
				size, err := f.Size()
				require.NoError(t, err)
				h.flip(newest, size-1)
			} else {
				h.flip(before, 100)
				h.cut(newest, 0)
				h.open()
				h.smallFiles()
				old := h.tip
				h.a.reset(&old)
			}
			other.entry(5)
			require.True(t, other.a.whole())
			tip := other.tip
			h.a.reset(&tip) // a Raft snapshot, after it was away
			require.False(t, h.a.whole())
			for range 3 {
				err = h.a.heal(t.Context(), neighbor{other.a})
			}
			require.NoError(t, err)
			require.True(t, h.a.whole())
		})
	}
}

// All that is fetched is what the links commit to.
func TestFetchedOutputsAreOfTheirLinks(t *testing.T) {
	h := newHandover(t)
	h.step([][]byte{[]byte("a"), []byte("b")})
	require.True(t, h.a.whole())
	good, err := h.a.outs.Read(1, 2)
	require.NoError(t, err)
	_, err = h.a.provenOutputs(good, 2)
	require.NoError(t, err)
	for what, change := range map[string]func([]chain.Output){
		"term":             func(o []chain.Output) { o[0].Term += 5 },
		"seq of a second":  func(o []chain.Output) { o[1].Seq = 700 },
		"number of second": func(o []chain.Output) { o[1].Number = 9 },
	} {
		bad := append([]chain.Output(nil), good...)
		change(bad)
		got, err := h.a.provenOutputs(bad, 2)
		if err == nil {
			t.Errorf("%s: taken: %+v", what, got)
		}
	}
}
