package standby

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

func (h *handover) smallFiles() {
	var err error
	h.a.outs, err = outputs.Open(h.disk.Sub("outputs"), outputs.Retention{Bytes: 1 << 40, SegmentBytes: 1000})
	require.NoError(h.t, err)
}

// neighbors are two archives of several files with the same in them.
func neighbors(t *testing.T) (h, other *handover) {
	h, other = newHandover(t), newHandover(t)
	for _, m := range []*handover{h, other} {
		m.smallFiles()
		for range 60 {
			m.entry(1)
			require.True(t, m.a.whole())
		}
	}
	require.Equal(t, h.tip.Head, other.tip.Head)
	return h, other
}

// A member with damage at the end of what it has, which then gets a Raft
// snapshot, is whole again.
func TestHealBehindDamage(t *testing.T) {
	for _, what := range []string{"newest file, no restart", "older file, the newest is empty"} {
		t.Run(what, func(t *testing.T) {
			h, other := neighbors(t)
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

// What nobody has whole any more keeps no member from what came after it, and is
// left as it is.
func TestHealPastDamageThatAllHave(t *testing.T) {
	h, other := neighbors(t)
	require.NoError(t, h.a.settle())
	names, err := h.disk.Sub("outputs").List(".")
	require.NoError(t, err)
	n := len(names)
	for _, m := range []*handover{h, other} {
		m.flip("outputs/"+names[0], 100)
		m.flip("outputs/"+names[n-2], 100)
	}
	h.flip("outputs/"+names[n-1], 10) // nothing of the newest file can be read
	h.open()
	h.smallFiles()
	tip := h.tip
	h.a.reset(&tip)
	require.False(t, h.a.whole())
	require.NoError(t, h.a.heal(t.Context(), neighbor{other.a}))
	require.True(t, h.a.whole())
	next := h.a.outs.Next()
	got, err := h.a.outs.Read(next-3, 10)
	require.NoError(t, err)
	require.Len(t, got, 3)
}

// Two that are damaged at different places mend each other, output by output.
func TestDamagedNeighborsMendEachOther(t *testing.T) {
	h, other := newHandover(t), newHandover(t)
	for range 40 {
		outs := [][]byte{fmt.Appendf(nil, "one of %d", h.tip.Head.Size()), []byte("two"), []byte("three")}
		h.step(outs)
		other.step(outs)
	}
	require.True(t, h.a.whole())
	require.True(t, other.a.whole())
	h.flip(firstSegment, 200)
	other.flip(firstSegment, 1100)
	h.flip(firstSegment, 2200)
	other.flip(firstSegment, 3300)
	mend := func(a *archive, from source) {
		_, err := a.outs.Scrub(1)
		var d *outputs.DamagedError
		require.ErrorAs(t, err, &d)
		for next := d.From; next <= d.To; {
			if next, err = a.patchOutputs(t.Context(), from, next, d.To); err != nil {
				return // the other one is to be mended first
			}
		}
	}
	for range 2 {
		mend(h.a, neighbor{other.a})
		mend(other.a, neighbor{h.a})
	}
	for _, m := range []*handover{h, other} {
		got, err := m.a.outs.Read(1, 1000)
		require.NoError(t, err)
		require.Len(t, got, 120)
		good, err := m.a.provenOutputs(got, 120)
		require.NoError(t, err)
		require.Len(t, good, 120)
	}
}

// Damage in outputs that nobody reads is found and mended by itself, while the
// other members still have them.
func TestOutputsAreScrubbed(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		for n := range uint64(40) {
			c.must("p", n+1, fmt.Sprintf("k%d event %d", n%4, n+1))
		}
		b := c.others(c.active().cfg.Member)[0]
		c.kill(b)
		g := c.start(b)
		c.settled()
		require.True(t, g.archive.whole())
		f, err := c.members[b].fs.Sub("data/outputs").Open("00000000000000000001.out", false)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xff}, 500)
		require.NoError(t, err)
		_, err = g.outs.Scrub(1)
		require.ErrorIs(t, err, durable.ErrDamaged)
		time.Sleep(5 * time.Second) // the archive is looked through at a start
		_, err = g.outs.Scrub(1)
		require.NoError(t, err)

		_, err = f.WriteAt([]byte{0xff}, 700)
		require.NoError(t, err)
		other := c.members[c.others(b)[0]].group()
		_, err = archiveOf{other.peers, b}.outputs(t.Context(), 15, 1) // and when another member lacks it
		require.Error(t, err)
		time.Sleep(5 * time.Second)
		_, err = g.outs.Scrub(1)
		require.NoError(t, err)
	})
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
