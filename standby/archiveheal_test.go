package standby

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

// neighbor is another member's archive, as its peer server serves it.
type neighbor struct{ a *archive }

func (s neighbor) links(_ context.Context, from, n uint64) (out []chain.Link, err error) {
	for seq := from; seq < min(from+n, s.a.hist.Size()); seq++ {
		l, err := s.a.hist.Link(seq)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func (s neighbor) record(_ context.Context, seq uint64) ([]byte, error) { return s.a.hist.Record(seq) }

func (s neighbor) outputs(_ context.Context, from uint64, n int) ([]chain.Output, error) {
	return s.a.outs.Read(from, min(n, maxPeerBatch))
}

// step hands over an entry of one step with these outputs.
func (h *handover) step(outs [][]byte) {
	l := h.tip.Next(chain.Draft{
		Kind: chain.KindStep, Input: chain.EventDigest("p", 1, nil),
		NewOutputs: uint64(len(outs)), OutputRoot: chain.OutputRoot(h.tip.Head.Link.Outputs+1, outs),
	})
	r := &fsm.Result{Status: fsm.Accepted, Kind: fsm.Batch, First: l.Seq, Links: []chain.Link{l}, Steps: []fsm.Step{{Outputs: outs}}}
	r.Tree = h.tip.Grow(&l, l.Hash(), nil)
	r.Head = h.tip.Head
	h.a.apply(r)
}

// An event may have more outputs than are asked for at a time, and as many bytes
// of them as fit into a step: a member that lacks them gets them all.
func TestHealLargeSteps(t *testing.T) {
	h := newHandover(t)
	many := make([][]byte, 3*maxPeerBatch+1)
	for i := range many {
		many[i] = fmt.Appendf(nil, "output %d", i)
	}
	large := make([][]byte, 4)
	for i := range large {
		large[i] = make([]byte, 1<<20-4)
	}
	for _, outs := range [][][]byte{{[]byte("x")}, many, large, large, large, many, large} {
		h.step(outs)
	}
	require.True(t, h.a.whole())

	other := newHandover(t)
	tip := h.tip
	other.a.reset(&tip) // it got a Raft snapshot
	require.False(t, other.a.whole())
	require.NoError(t, other.a.heal(t.Context(), neighbor{h.a}))
	require.True(t, other.a.whole())
}

// Outputs that name a link without any, as another member may send them, are refused.
func TestHealRefusesOutputsOfALinkWithout(t *testing.T) {
	h := newHandover(t)
	h.entry(1)
	require.True(t, h.a.whole())
	_, err := h.a.provenOutputs([]chain.Output{{Number: 1, Seq: 0, Payload: []byte("x")}}, 1)
	require.ErrorContains(t, err, "seq 0, which has none")
}

// What one member sends another is within what that takes.
func TestServedOutputsAreBounded(t *testing.T) {
	outs, err := outputs.Open(durable.NewMem().Sub("o"), outputs.Retention{})
	require.NoError(t, err)
	for size, n := range map[int]int{64 << 10: maxPeerBatch, 4 << 20: 20} {
		payload := make([]byte, size)
		from := outs.Next()
		for i := from; i < from+uint64(n); i++ {
			require.NoError(t, outs.Append([]chain.Output{{Number: i, Seq: i, Term: 1, Payload: payload}}))
		}
		g := &Group{outs: outs}
		w := httptest.NewRecorder()
		g.serveOutputs(w, httptest.NewRequest("GET", fmt.Sprintf("/peer/outputs?from=%d&n=%d", from, maxPeerBatch), nil))
		require.Equal(t, 200, w.Code)
		require.Less(t, w.Body.Len(), maxPeerManifest/4, "the other member refuses the answer, each time")
	}
}

// What waits while a hole is healed is bounded in bytes as well: entries may have
// megabytes each, and what does not wait the other members have.
func TestWaitingEntriesAreBoundedInBytes(t *testing.T) {
	h, other := newHandover(t), newHandover(t)
	h.disk.Hook = func(op, name string) error {
		if op == "write" && strings.HasPrefix(name, "outputs") {
			return errors.New("no space left on device")
		}
		return nil
	}
	outs := [][]byte{make([]byte, 1<<20), make([]byte, 1<<20), make([]byte, 1<<20)}
	for range 40 {
		h.step(outs)
		other.step(outs)
		h.a.catchUp()
		other.a.catchUp()
		bytes := 0
		for _, r := range h.a.waiting {
			bytes += len(r.Steps[0].Outputs) * len(outs[0])
		}
		require.LessOrEqual(t, bytes, 80<<20)
	}
	h.disk.Hook = nil
	require.False(t, h.a.whole())
	require.NoError(t, h.a.heal(t.Context(), neighbor{other.a}))
	require.True(t, h.a.whole())
	require.NoError(t, h.a.hist.Check(h.tip.Frontier))
	require.EqualValues(t, 121, h.a.outs.Next())
}
