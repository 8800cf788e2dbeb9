package wire_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

func TestGoldenEvents(t *testing.T) {
	events := []standby.Event{
		{Producer: "till-7", Sequence: 42, Payload: []byte("transfer A B 10")},
		{Payload: []byte{0, 0xff, '"'}},
		{Producer: "ärger\n", Sequence: 1, Payload: []byte{}},
	}
	var b []byte
	for i := range events {
		b = wire.AppendEvent(b, &events[i])
	}
	golden.Text(t, "events", b)
	lines := bytes.SplitAfter(golden.ReadText(t, "events"), []byte("\n"))
	for i := range events {
		got, err := wire.ParseEvent(lines[i])
		require.NoError(t, err)
		require.Equal(t, events[i], got)
	}
}

func TestGoldenResults(t *testing.T) {
	results := []standby.Result{
		{Receipt: standby.Receipt{Producer: "till-7", Sequence: 42, Seq: 9, Term: 7, Link: chain.Hash{1}, FirstOutput: 5, Outputs: 2, OutputData: [][]byte{[]byte("one"), []byte("two")}, Duplicate: true}},
		{Receipt: standby.Receipt{Seq: 10, Term: 7, Link: chain.Hash{2}, Rejected: true, Reason: "no such account"}},
		{Receipt: standby.Receipt{Seq: 11, Term: 7, Link: chain.Hash{3}, Refused: true, Reason: "the daemon panicked"}},
		{Err: &wire.Problem{Text: "why", Code: wire.Gap, Expected: 43, Remedy: "what to do"}},
		{Err: &wire.Problem{Text: "why", Code: wire.Busy, RetryAfterMS: 20}},
		{Err: &wire.Problem{Text: "why", Code: wire.NotActive, Active: "b", RetryAfterMS: 100}},
		{Err: &wire.Problem{Text: "why", Code: wire.Uncertain, Remedy: "resend"}},
		{Err: &wire.Problem{Text: "why", Code: wire.Pruned, Oldest: 12}},
		{Err: &wire.Problem{Text: "why", Code: wire.Unauthorized, Forbidden: true}},
	}
	var b []byte
	for i := range results {
		b = wire.AppendResult(b, &results[i])
	}
	golden.Text(t, "results", b)
	lines := bytes.SplitAfter(golden.ReadText(t, "results"), []byte("\n"))
	for i, want := range results {
		got, err := wire.ParseResult(lines[i])
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// A stream is its lines, each within the limit or skipped, and nothing else.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\n\n  \r\ntwo\nlonger than is allowed\nthree"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 8
		var want [][]byte
		for _, line := range bytes.Split(b, []byte("\n")) {
			if len(line) <= most && len(bytes.TrimSpace(line)) > 0 {
				want = append(want, line)
			}
		}
		var got [][]byte
		golden.Bounded(t, len(b), func() {
			lines := wire.NewLines(bytes.NewReader(b), most)
			for {
				line, whole, err := lines.Next()
				if err == io.EOF {
					return
				}
				if errors.Is(err, wire.ErrLongLine) {
					continue
				}
				require.NoError(t, err)
				got = append(got, bytes.Clone(line))
				require.True(t, whole || bytes.HasSuffix(b, line))
			}
		})
		require.Equal(t, want, got)
	})
}
