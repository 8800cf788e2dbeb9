package drill

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/daemons"
	"github.com/understudy-ha/understudy/standby"
)

// receiptsOf has one process answer an input in an order, as a group would.
func receiptsOf(t *testing.T, input [][]byte, order []int) []standby.Receipt {
	fresh, err := daemons.New("ledger")
	require.NoError(t, err)
	d := fresh()
	out := make([]standby.Receipt, len(input))
	outputs := uint64(0)
	for seq, i := range order {
		r := standby.Receipt{Producer: fmt.Sprintf("drill-%d", i%producers+1), Sequence: uint64(i/producers) + 1, Seq: uint64(seq) + 5, Term: 2}
		outs, err := d.Process(chain.Event{Payload: input[i]})
		if r.Rejected = err != nil; err == nil && len(outs) > 0 {
			r.FirstOutput, r.Outputs = outputs+1, uint64(len(outs))
			outputs += r.Outputs
		}
		out[i] = r
	}
	return out
}

// The comparison finds what it is there to find.
func TestReplayFindsWhatIsWrong(t *testing.T) {
	input := MakeInput("ledger", 400, 7)
	order := make([]int, len(input))
	for i := range order {
		order[i] = i
	}
	for name, c := range map[string]struct {
		spoil func([]standby.Receipt)
		want  string
	}{
		"nothing":           {func([]standby.Receipt) {}, ""},
		"two in one place":  {func(r []standby.Receipt) { r[300].Seq = r[299].Seq }, "same place"},
		"another's receipt": {func(r []standby.Receipt) { r[300].Sequence++ }, "has the receipt of event"},
		"out of order":      {func(r []standby.Receipt) { r[300].Seq, r[304].Seq = r[304].Seq, r[300].Seq }, "was applied after event"},
		"rejected once":     {func(r []standby.Receipt) { r[300].Rejected = !r[300].Rejected }, "was rejected in one run only"},
		"an output doubled": {func(r []standby.Receipt) { r[10].Outputs++ }, "outputs"},
		"an output moved":   {func(r []standby.Receipt) { r[10].FirstOutput++ }, "outputs"},
	} {
		t.Run(name, func(t *testing.T) {
			receipts := receiptsOf(t, input, order)
			c.spoil(receipts)
			alone, err := newChecker("ledger")
			require.NoError(t, err)
			d := &drill{cfg: &Config{Input: input}, load: &load{receipts: receipts}, alone: alone, report: new(Report)}
			bySeq := slices.Clone(order)
			slices.SortStableFunc(bySeq, func(a, b int) int { return int(receipts[a].Seq) - int(receipts[b].Seq) })
			var v Verdict
			d.replay(&v, bySeq)
			if c.want == "" {
				require.Zero(t, v)
				return
			}
			require.NotZero(t, v.Lost)
			require.Contains(t, v.Findings[0], c.want)
		})
	}
}

func TestCountsTellLostFromDoubled(t *testing.T) {
	var v Verdict
	v.count(10, 10, "events")
	require.Zero(t, v)
	v.count(10, 7, "events")
	require.Equal(t, uint64(3), v.Lost)
	v.count(10, 12, "events")
	require.Equal(t, uint64(2), v.Duplicated)
	require.Len(t, v.Findings, 2)
}

func TestParseFaults(t *testing.T) {
	got, err := ParseFaults([]string{"kill", "flap"})
	require.NoError(t, err)
	require.Equal(t, []Fault{Kill, Flap}, got)
	got, err = ParseFaults([]string{"all"})
	require.NoError(t, err)
	require.Len(t, got, len(Kinds()))
	got, err = ParseFaults([]string{"kill", "all", "kill"})
	require.NoError(t, err)
	require.Len(t, got, len(Kinds()), "each has one directory and one suite")
	_, err = ParseFaults([]string{"kill", "nothing"})
	require.ErrorContains(t, err, "all-down")
}

// The manual has every fault, in the order of the list, and what it proves.
func TestDocumentedFaults(t *testing.T) {
	doc, err := os.ReadFile("../../docs/drills.md")
	require.NoError(t, err)
	var got, want [][2]string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| [^|]+ \\| ([^|]+) \\|").FindAllStringSubmatch(string(doc), -1) {
		got = append(got, [2]string{m[1], m[2]})
	}
	for _, k := range Kinds() {
		want = append(want, [2]string{string(k.Fault), k.Proves})
	}
	require.Equal(t, want, got)
}
