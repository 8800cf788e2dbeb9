package standby

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func TestGoldenIdentity(t *testing.T) {
	fs := durable.NewMem().Sub("data")
	require.NoError(t, fs.MkdirAll("."))
	payload := append([]byte{15: 16}, 0, 0, 0, 0, 0, 0, 1, 1)
	var marks peernet.Marks
	for i := range marks {
		marks[i][7] = byte(i)
		payload = append(payload, marks[i][:]...)
	}
	require.NoError(t, durable.WriteSealed(fs, identityFile, payload))
	b, err := fs.ReadFile(identityFile, 1<<10)
	require.NoError(t, err)
	golden.Bytes(t, "identity", b)

	require.NoError(t, fs.WriteFile(identityFile, golden.Read(t, "identity")))
	for range 2 {
		id, err := (&Group{cfg: Config{Founding: testkit.Founding(3), Member: "a"}, fs: fs}).identity()
		require.NoError(t, err)
		require.Equal(t, [16]byte{15: 16}, id.StoreID)
		require.Greater(t, id.Starts, uint64(0x101), "this start is counted")
		before := id.Starts - 0x101
		require.Equal(t, marks[:8], id.Marks[before:before+8], "and has a mark of its own in front")
	}
}

func TestGoldenPeerBodies(t *testing.T) {
	for name, c := range map[string]struct{ value, back any }{
		"position": {&position{
			Member: "a", Role: RoleStandby, Phase: PhaseReplay, Term: 7, Seq: 42, Head: chain.Hash{1}, At: chain.Hash{2}, Applied: 50, Restored: 40, HostInput: 41,
			SealTime: 2_000_000_000, Eligible: true, Reason: "why", Health: "healthy", Saturation: 0.5, Version: "v1", Now: 2_000_000_001,
			Promotion: 6, Phases: map[string]float64{PhaseFence: 1.5},
		}, new(position)},
		"planned": {&plannedNotice{From: "a", Anchor: chain.Anchor{Link: chain.Hash{1}, Seq: 42, Root: chain.Hash{2}}, Term: 7, Release: bytes.Repeat([]byte{3}, 64)}, new(plannedNotice)},
		"outputs": {&[]chain.Output{{Number: 1, Seq: 2, Term: 3, Payload: []byte("one")}, {Number: 2, Seq: 2, Term: 3, Payload: []byte{}}}, new([]chain.Output)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(c.value)
			require.NoError(t, err)
			golden.Text(t, name, append(b, '\n'))
			require.NoError(t, json.Unmarshal(golden.ReadText(t, name), c.back))
			require.Equal(t, c.value, c.back)
		})
	}
}

// answering is an HTTP transport on which every call gets the same answer.
type answering []byte

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: io.NopCloser(bytes.NewReader(a))}, nil
}

// Whatever another member answers, a call gives something that it may have
// meant, no more than was asked for, or an error.
func FuzzPeerAnswers(f *testing.F) {
	golden.SeedText(f, "position", "planned", "outputs")
	tip, err := chain.Genesis(testkit.Founding(1))
	require.NoError(f, err)
	link := tip.Head.Link.Bytes()
	f.Add(append(link[:], link[:]...))
	f.Add([]byte(`[{"number":1},{"number":2},{"number":3}]`))
	ctx, cancel := context.WithTimeout(f.Context(), time.Hour)
	f.Cleanup(cancel)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &peers{self: "a", httpc: &http.Client{Transport: answering(b)}}
		other := archiveOf{p, "b"}
		golden.Bounded(t, len(b), func() {
			p.position(ctx, "b", 1, time.Millisecond)
			if ls, err := other.links(ctx, 5, 3); err == nil {
				require.LessOrEqual(t, len(ls), 3)
				var back []byte
				for _, l := range ls {
					lb := l.Bytes()
					back = append(back, lb[:]...)
				}
				require.True(t, bytes.Equal(b, back))
			}
			if outs, err := other.outputs(ctx, 1, 2); err == nil {
				require.LessOrEqual(t, len(outs), 2)
				for i, o := range outs {
					require.Equal(t, uint64(1+i), o.Number)
				}
			}
			if m, err := p.chunk(ctx, "b", chain.Hash{}, 100, func() {}); err == nil {
				require.LessOrEqual(t, len(m), 100)
			}
			json.Unmarshal(b, new(plannedNotice))
		})
	})
}
