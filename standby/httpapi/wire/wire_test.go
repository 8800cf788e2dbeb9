package wire_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

func someEvent() standby.Event {
	return standby.Event{Producer: "till-7", Sequence: 123456, Payload: []byte(strings.Repeat("put k012 value ", 9)[:128])}
}

func someReceipt() standby.Receipt {
	return standby.Receipt{
		Producer: "till-7", Sequence: 123456, Seq: 9_876_543, Term: 12, Link: chain.Derive("link", []byte("x")),
		FirstOutput: 9_876_000, Outputs: 1, OutputData: [][]byte{[]byte("put k012")},
	}
}

// text makes strings with everything that JSON escapes, and worse.
func text(rng *rand.Rand) string {
	alphabet := []string{"a", "é", "\"", "\\", "<", ">", "&", "\n", "\x01", "\u2028", "\xff", "\x7f", " ", "/", "😀"}
	var s string
	for range rng.IntN(8) {
		s += alphabet[rng.IntN(len(alphabet))]
	}
	return s
}

// A receipt's line is what encoding/json makes of it, byte for byte, and reads
// back as encoding/json reads it.
func TestReceiptLinesAreJSON(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	number := func() uint64 { return rng.Uint64() >> rng.IntN(64) * uint64(rng.IntN(2)) }
	for range 5000 {
		r := standby.Receipt{
			Producer: text(rng), Sequence: number(), Seq: number(), Term: number(), FirstOutput: number(), Outputs: number(),
			Rejected: rng.IntN(2) == 0, Refused: rng.IntN(2) == 0, Reason: text(rng), Duplicate: rng.IntN(2) == 0,
		}
		for i := range r.Link {
			r.Link[i] = byte(rng.Uint32())
		}
		for range rng.IntN(4) {
			var out []byte
			if rng.IntN(4) > 0 {
				out = []byte(text(rng))
			}
			r.OutputData = append(r.OutputData, out)
		}
		want, err := json.Marshal(&r)
		require.NoError(t, err)
		line := wire.AppendResult(nil, &standby.Result{Receipt: r})
		require.Equal(t, string(want)+"\n", string(line))

		var back standby.Receipt
		require.NoError(t, json.Unmarshal(want, &back))
		got, err := wire.ParseResult(line)
		require.NoError(t, err)
		require.NoError(t, got.Err)
		require.Equal(t, back, got.Receipt)
	}
}

// Lines in another form than ours, but JSON all the same.
func TestForeignReceiptLines(t *testing.T) {
	link := someReceipt().Link.String()
	for line, want := range map[string]standby.Receipt{
		` { "seq" : 1 , "term":2,"link":"` + link + `","outputs":0 } `:                                     {Seq: 1, Term: 2, Link: someReceipt().Link},
		`{"Seq":1,"TERM":2,"link":"` + link + `","outputs":0,"later":{"a":[1,{}]}}`:                        {Seq: 1, Term: 2, Link: someReceipt().Link},
		`{"seq":1,"seq":3,"term":2,"link":"` + link + `","outputs":0}`:                                     {Seq: 3, Term: 2, Link: someReceipt().Link},
		`{"seq":1,"term":2,"link":"` + link + `","outputs":2,"output_data":[null,"eA=="],"rejected":null}`: {Seq: 1, Term: 2, Link: someReceipt().Link, Outputs: 2, OutputData: [][]byte{nil, []byte("x")}},
	} {
		got, err := wire.ParseResult([]byte(line))
		require.NoError(t, err, line)
		require.Equal(t, standby.Result{Receipt: want}, got, line)
	}
	for _, line := range []string{``, `{`, `{}`, `[]`, `{"seq":1}`, `{"seq":-1,"link":"` + link + `"}`, `{"link":"` + link + `"}x`, `{"link":"xx"}`} {
		_, err := wire.ParseResult([]byte(line))
		require.Error(t, err, line)
	}
	got, err := wire.ParseResult([]byte(`{"error":"expected 4","code":"gap","expected":4}`))
	require.NoError(t, err)
	require.ErrorIs(t, got.Err, standby.ErrGap)
}

// An outcome means the same to any other reader of JSON, and is the same after
// it was sent on.
func FuzzParseResult(f *testing.F) {
	r := someReceipt()
	for line := range bytes.Lines(golden.ReadText(f, "results")) {
		f.Add(line)
	}
	f.Add(wire.AppendResult(nil, &standby.Result{Receipt: r}))
	f.Add([]byte(`{"seq":1,"term":2,"link":"` + r.Link.String() + `","outputs":1,"output_data":["eA=="],"rejected":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var got standby.Result
		var err error
		golden.Bounded(t, len(line), func() { got, err = wire.ParseResult(line) })
		if err == nil {
			on := wire.AppendResult(nil, &got)
			back, err := wire.ParseResult(on)
			require.NoError(t, err)
			require.Equal(t, string(on), string(wire.AppendResult(nil, &back)))
		}
		var want struct {
			standby.Receipt
			wire.Problem
		}
		if json.Unmarshal(line, &want) != nil {
			require.Error(t, err)
		} else if err == nil && got.Err == nil {
			require.Equal(t, want.Receipt, got.Receipt)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	ev := someEvent()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = wire.AppendEvent(buf[:0], &ev)
	}
}

func BenchmarkParseEvent(b *testing.B) {
	ev := someEvent()
	line := wire.AppendEvent(nil, &ev)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseEvent(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendResult(b *testing.B) {
	r := standby.Result{Receipt: someReceipt()}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = wire.AppendResult(buf[:0], &r)
	}
}

func BenchmarkParseResult(b *testing.B) {
	line := wire.AppendResult(nil, &standby.Result{Receipt: someReceipt()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseResult(line); err != nil {
			b.Fatal(err)
		}
	}
}
