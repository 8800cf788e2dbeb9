package standby

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/internal/outputs"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// handover is an archive in memory whose goroutine does not run, and a chain
// whose entries are handed to it.
type handover struct {
	t    *testing.T
	disk *durable.Mem
	a    *archive
	tip  chain.Tip
	fail error // the archive ended the member
}

func newHandover(t *testing.T) *handover {
	h := &handover{t: t, disk: durable.NewMem()}
	var err error
	h.tip, err = chain.Genesis(testkit.Founding(3))
	require.NoError(t, err)
	h.open()
	return h
}

func (h *handover) open() {
	hist, err := history.Open(h.disk.Sub("history"), h.tip.Head.Link.Origin)
	require.NoError(h.t, err)
	outs, err := outputs.Open(h.disk.Sub("outputs"), outputs.Retention{})
	require.NoError(h.t, err)
	genesis, err := chain.Genesis(testkit.Founding(3))
	require.NoError(h.t, err)
	h.a = &archive{log: slog.New(slog.NewTextHandler(io.Discard, nil)), hist: hist, outs: outs, hole: newSignal(), root: genesis.Head.Link, queue: newQueue(), fail: func(err error) { h.fail = err }}
	if hist.Size() == 0 {
		h.a.reset(&genesis)
	}
}

// entry hands over a batch of n steps with an output each.
func (h *handover) entry(n int) {
	r := &fsm.Result{Status: fsm.Accepted, Kind: fsm.Batch, First: h.tip.Head.Size()}
	for i := range n {
		out := fmt.Appendf(nil, "output of %d", h.tip.Head.Size())
		l := h.tip.Next(chain.Draft{
			Kind: chain.KindStep, Input: chain.EventDigest("p", uint64(i), nil),
			NewOutputs: 1, OutputRoot: chain.OutputRoot(h.tip.Head.Link.Outputs+1, [][]byte{out}),
		})
		r.Tree = h.tip.Grow(&l, l.Hash(), r.Tree)
		r.Links, r.Steps = append(r.Links, l), append(r.Steps, fsm.Step{Outputs: [][]byte{out}})
	}
	r.Head = h.tip.Head
	h.a.apply(r)
}

// holds says that the archive has all of the chain on its files.
func (h *handover) holds() {
	require.NoError(h.t, h.a.hist.Check(h.tip.Frontier))
	n := int(h.tip.Head.Link.Outputs)
	outs, err := h.a.outs.Read(1, n+1)
	require.NoError(h.t, err)
	require.Len(h.t, outs, n)
	for i := range outs {
		require.Equal(h.t, fmt.Sprintf("output of %d", outs[i].Seq), string(outs[i].Payload))
	}
}

// What was handed over is durable once the archive is synced, which is before
// Raft lets go of its entries: also what its goroutine has not come to yet.
func TestArchiveSyncTakesInTheQueue(t *testing.T) {
	h := newHandover(t)
	for i := range 9 {
		h.entry(1 + i)
	}
	require.EqualValues(t, 1, h.a.hist.Size(), "nothing was taken in yet")
	require.NoError(t, h.a.sync())
	h.disk.Crash()
	h.open()
	h.holds()
}

// What could not be written is written as soon as it can be, by the member
// alone, and Raft does not let go of it before.
func TestArchiveTriesAgain(t *testing.T) {
	for _, what := range []string{"history/links", "history/hashes", "outputs"} {
		h := newHandover(t)
		h.entry(2)
		require.True(t, h.a.whole())
		broken := errors.New("no space left on device")
		h.disk.Hook = func(op, name string) error {
			if op != "read" && strings.HasPrefix(name, what) {
				return broken
			}
			return nil
		}
		for i := range 5 {
			h.entry(1 + i)
			require.False(t, h.a.whole(), what)
			require.ErrorIs(t, h.a.settle(), broken, what)
		}
		h.disk.Hook = nil
		require.NoError(t, h.fail, what)
		require.NoError(t, h.a.settle(), what)
		require.True(t, h.a.whole(), what)
		h.disk.Crash()
		h.open()
		h.holds()
	}
}

// Entries behind a hole wait for the other members, and so does Raft.
func TestArchiveSettlesWhenHealed(t *testing.T) {
	h := newHandover(t)
	h.entry(2)
	require.NoError(t, h.a.settle())
	require.NoError(t, h.a.hist.Truncate(1))
	h.entry(3)
	require.ErrorContains(t, h.a.settle(), "1 entries wait")
	require.NoError(t, h.a.sync())
}

// Readers of what was applied see it, and whole is said of that.
func TestArchiveReaders(t *testing.T) {
	h := newHandover(t)
	h.entry(3)
	h.a.reach(4)
	h.holds()
	h.entry(2)
	require.True(t, h.a.whole())
	h.holds()
	h.entry(2)
	tip := h.tip
	h.a.reset(&tip) // as by a snapshot of the same position
	require.True(t, h.a.whole())
	h.holds()
}

// An archive that is too far behind holds up the state machine.
func TestArchiveQueueIsBounded(t *testing.T) {
	h := newHandover(t)
	for range maxQueued - 1 {
		h.entry(200) // more than is written at once
	}
	require.EqualValues(t, 1, h.a.hist.Size())
	h.entry(1)
	require.Equal(t, h.tip.Head.Size(), h.a.hist.Size())
	h.holds()
}

// A group of one keeps what is behind a damaged link: nobody else has it.
func TestScrubAlone(t *testing.T) {
	for _, alone := range []bool{true, false} {
		h := newHandover(t)
		h.a.alone = alone
		h.entry(9)
		require.True(t, h.a.whole())
		f, err := h.disk.Sub("history").Open("links", false)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{0xff}, 4*chain.LinkSize+100)
		require.NoError(t, err)
		at := h.a.scrub(0)
		for at < h.a.hist.Size() {
			at = h.a.scrub(at)
		}
		require.Equal(t, alone, h.a.hist.Size() == 10)
	}
}
