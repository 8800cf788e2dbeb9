package linear_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/internal/linear"
)

// play records operations one after the other: "request -> answer", and
// "request" alone for one without an outcome.
func play(script ...string) *linear.History {
	h := new(linear.History)
	for _, line := range script {
		request, answer, known := strings.Cut(line, " -> ")
		done, lost := h.Call(0, request)
		if known {
			done(answer)
		} else {
			lost()
		}
		time.Sleep(time.Microsecond)
	}
	return h
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		legal  bool
		script []string
	}{
		"one after the other":       {true, []string{"put a 1 -> put a", "get a -> 1", "cas a 1 2 -> swapped a", "get a -> 2", "delete a -> deleted a", "get a -> "}},
		"another key":               {true, []string{"put a 1 -> put a", "get b -> "}},
		"lost write":                {false, []string{"put a 1 -> put a", "get a -> "}},
		"stale read":                {false, []string{"put a 1 -> put a", "put a 2 -> put a", "get a -> 1"}},
		"applied twice":             {false, []string{"put a 1 -> put a", "cas a 1 2 -> swapped a", "put a 1 -> put a", "cas a 1 3 -> kept a"}},
		"no outcome, happened":      {true, []string{"put a 1", "get a -> 1"}},
		"no outcome, did not":       {true, []string{"put a 1", "get a -> "}},
		"no outcome, happens late":  {true, []string{"put a 1", "get a -> ", "get a -> 1"}},
		"no outcome, happens twice": {false, []string{"put a 1", "get a -> 1", "delete a -> deleted a", "get a -> 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := play(c.script...).Check(time.Minute, dir)
			if c.legal {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, linear.ErrIllegal)
			pictures, _ := os.ReadDir(dir)
			require.Len(t, pictures, 1)
			require.ErrorContains(t, err, pictures[0].Name())
		})
	}
}

// The model does what the daemon does.
func TestModelIsTheDaemon(t *testing.T) {
	d := kv.New()
	var script []string
	for _, r := range strings.Split("delete a,put a 1,put a x y z,cas a 1 2,put a 1,cas a 1 2,cas a 1 3,delete a,cas a 2 3,put b 1", ",") {
		outs, err := d.Process(chain.Event{Payload: []byte(r)})
		require.NoError(t, err)
		script = append(script, r+" -> "+string(outs[0]))
		for _, k := range []string{"a", "b"} {
			v, _ := d.Query([]byte("get " + k))
			script = append(script, "get "+k+" -> "+string(v))
		}
	}
	require.NoError(t, play(script...).Check(time.Minute, t.TempDir()))
}
