package daemons_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/host/hosttest"
	"github.com/understudy-ha/understudy/internal/daemons"
	"github.com/understudy-ha/understudy/internal/daemons/ledger"
)

func make1(t *testing.T, name string) host.Daemon {
	t.Helper()
	fresh, err := daemons.New(name)
	require.NoError(t, err)
	return fresh()
}

func do(t *testing.T, d host.Daemon, line string) (string, error) {
	t.Helper()
	outs, err := d.Process(chain.Event{Payload: []byte(line)})
	if err != nil {
		return "", err
	}
	require.Len(t, outs, 1)
	return string(outs[0]), nil
}

func ask(t *testing.T, d host.Daemon, q string) string {
	t.Helper()
	b, err := d.(host.Queryable).Query([]byte(q))
	require.NoError(t, err)
	return string(b)
}

func lines(s ...string) [][]byte {
	var out [][]byte
	for _, l := range s {
		out = append(out, []byte(l))
	}
	return out
}

func TestConformance(t *testing.T) {
	for name, events := range map[string][][]byte{
		"ledger":    lines("open a 100", "open b 0", "transfer a b 30", "transfer b a 31", "open a 1", "balance a", "total", "accounts", "transfer b a 30", "", "open c 9223372036854775807"),
		"kv":        lines("put a 1", "put b two words", "get a", "list", "cas a 1 2", "cas a 1 3", "delete b", "delete b", "put", "put c ", "list a", "put d 4"),
		"wordcount": lines("the quick brown fox", "", "  jumps\tover ", "totals", "top 3", "words", "the lazy dog", "two\nlines", "\xff\xfe bytes"),
	} {
		t.Run(name, func(t *testing.T) {
			fresh, err := daemons.New(name)
			require.NoError(t, err)
			require.Equal(t, name, fresh().Name())
			hosttest.Run(t, fresh, events)
		})
	}
}

func TestUnknownName(t *testing.T) {
	require.Equal(t, []string{"kv", "ledger", "wordcount"}, daemons.Names())
	_, err := daemons.New("nothing")
	require.ErrorContains(t, err, "kv, ledger, wordcount")
}

// Whatever is transferred, the sum stays, and no account goes below nothing.
func TestLedgerKeepsTheSum(t *testing.T) {
	d, rng := ledger.New(), rand.New(rand.NewPCG(1, 2))
	for i := range 10 {
		_, err := do(t, d, fmt.Sprintf("open a%d 1000", i))
		require.NoError(t, err)
	}
	refused := 0
	for range 5000 {
		if _, err := do(t, d, fmt.Sprintf("transfer a%d a%d %d", rng.IntN(10), rng.IntN(10), rng.IntN(800))); err != nil {
			require.ErrorContains(t, err, "less than")
			refused++
		}
	}
	require.NotZero(t, refused)
	sum := 0
	for line := range strings.Lines(ask(t, d, "accounts")) {
		var name string
		var n int
		_, err := fmt.Sscan(line, &name, &n)
		require.NoError(t, err)
		sum += n
	}
	require.Equal(t, 10_000, sum)
	require.Equal(t, "10000\n", ask(t, d, "total"))
	out, err := do(t, d, "transfer a1 a1 1")
	require.NoError(t, err)
	require.Contains(t, out, "transferred a1 a1 1")
}

// The daemon against a plain map, with captures held and released on the way.
func TestKVAgainstAMap(t *testing.T) {
	d, model, rng := make1(t, "kv"), map[string]string{}, rand.New(rand.NewPCG(3, 4))
	type held struct {
		c    host.Capture
		want map[string]string
	}
	var captures []held
	check := func(h held) {
		var b bytes.Buffer
		_, err := h.c.WriteTo(&b)
		require.NoError(t, err)
		fresh := make1(t, "kv")
		require.NoError(t, fresh.(host.Streamer).RestoreFrom(&b))
		require.Equal(t, dump(h.want), ask(t, fresh, "list"))
		h.c.Release()
	}
	for range 20_000 {
		k := fmt.Sprint("k", rng.IntN(200))
		switch rng.IntN(5) {
		case 0:
			_, there := model[k]
			out, err := do(t, d, "delete "+k)
			require.NoError(t, err)
			require.Equal(t, map[bool]string{true: "deleted " + k, false: "absent " + k}[there], out)
			delete(model, k)
		case 1:
			old := fmt.Sprint(rng.IntN(3))
			out, err := do(t, d, "cas "+k+" "+old+" 2")
			require.NoError(t, err)
			if v, ok := model[k]; ok && v == old {
				require.Equal(t, "swapped "+k, out)
				model[k] = "2"
			} else {
				require.Equal(t, "kept "+k, out)
			}
		default:
			v := fmt.Sprint(rng.IntN(3))
			_, err := do(t, d, "put "+k+" "+v)
			require.NoError(t, err)
			model[k] = v
		}
		switch r := rng.IntN(100); {
		case r == 0 && len(captures) < 3:
			c, err := d.(host.Streamer).Capture()
			require.NoError(t, err)
			captures = append(captures, held{c, maps.Clone(model)})
		case r == 1 && len(captures) > 0:
			i := rng.IntN(len(captures))
			check(captures[i])
			captures = slices.Delete(captures, i, i+1)
		}
		if rng.IntN(500) == 0 {
			require.Equal(t, dump(model), ask(t, d, "list"))
		}
	}
	for _, h := range captures {
		check(h)
	}
	require.Equal(t, dump(model), ask(t, d, "list"))
}

func dump(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s %s\n", k, m[k])
	}
	return b.String()
}

// What the system's own tools say of the same text.
func TestWordcountAgainstTheTools(t *testing.T) {
	var text strings.Builder
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		for range rng.IntN(12) {
			fmt.Fprintf(&text, "%sw%d", []string{" ", "\t", "  ", "\r", "\v"}[rng.IntN(5)], rng.IntN(300)*rng.IntN(300))
			if rng.IntN(20) == 0 {
				text.WriteString([]string{" \x01 ", " é ", "é", " \xff\x7f", "\u00a0", " \u3000→ слово", " \u200b "}[rng.IntN(7)])
			}
		}
		text.WriteByte('\n')
	}
	d := make1(t, "wordcount")
	last := ""
	for line := range strings.Lines(text.String()) {
		var err error
		last, err = do(t, d, strings.TrimSuffix(line, "\n"))
		require.NoError(t, err)
	}
	tool := func(script string) []string {
		cmd := exec.Command("sh", "-c", script)
		cmd.Env = append(cmd.Environ(), "LC_ALL=C")
		if script == "wc" {
			cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
		}
		cmd.Stdin = strings.NewReader(text.String())
		b, err := cmd.Output()
		require.NoError(t, err)
		return strings.Fields(string(b))
	}
	require.Equal(t, tool("wc"), strings.Fields(last))
	require.Equal(t, tool(`tr -s '[:space:]' '\n' | grep -a . | sort | uniq -c`), strings.Fields(ask(t, d, "words")))
	require.Equal(t, tool(`tr -s '[:space:]' '\n' | grep -a . | sort | uniq -c | sort -k1,1nr -k2,2 | head -20`), strings.Fields(ask(t, d, "top 20")))
	require.Equal(t, "0\n", ask(t, d, "count nothing"))
}
