package drill

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// The one producer of a drill with a group in use finds what is wrong with its
// receipts by the one before.
func TestTrickleFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*standby.Receipt)
		want  string
	}{
		"nothing":          {func(*standby.Receipt) {}, ""},
		"another's":        {func(r *standby.Receipt) { r.Producer = "q" }, "has the receipt of"},
		"another number":   {func(r *standby.Receipt) { r.Sequence = 4 }, "has the receipt of event 4"},
		"the same place":   {func(r *standby.Receipt) { r.Seq = 10 }, "the same place"},
		"an earlier place": {func(r *standby.Receipt) { r.Seq = 9 }, "before event 2"},
		"an earlier term":  {func(r *standby.Receipt) { r.Term = 2 }, "before event 2"},
	} {
		l := &trickle{name: "p"}
		l.check(2, &standby.Receipt{Producer: "p", Sequence: 2, Seq: 10, Term: 3})
		l.found = Verdict{}
		r := standby.Receipt{Producer: "p", Sequence: 3, Seq: 12, Term: 3, FirstOutput: 7, Outputs: 1, OutputData: [][]byte{{1}}}
		c.spoil(&r)
		l.check(3, &r)
		if c.want == "" {
			require.Zero(t, l.found, name)
			require.Equal(t, uint64(7), l.outputs[0].Number)
			continue
		}
		require.Equal(t, uint64(1), l.found.Lost, name)
		require.Contains(t, l.found.Findings[0], c.want, name)
	}
}

func TestCheckLive(t *testing.T) {
	require.NoError(t, CheckLive(Switchover))
	require.NoError(t, CheckLive(StepDown))
	for _, k := range Kinds() {
		if err := CheckLive(k.Fault); !k.Harmless() {
			require.True(t, errors.Is(err, standby.ErrRefused), "%s", k.Fault)
		}
	}
	require.ErrorContains(t, CheckLive(Term), "on the active's own machine")
}
