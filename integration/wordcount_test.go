package integration

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// text gathers real lines that are on every machine with Go: Go's own sources.
func text(t *testing.T, lines int) []byte {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	var out []byte
	n := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".go" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(b, []byte("\n")) || bytes.ContainsFunc(b, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) && !unicode.IsSpace(r) }) {
			return err
		}
		out = append(out, b...)
		if n += bytes.Count(b, []byte("\n")); n >= lines {
			return fs.SkipAll
		}
		return nil
	}))
	require.GreaterOrEqual(t, n, lines)
	return out
}

// A text of more than 100,000 lines goes through five kills and comes out with
// the totals of wc and the counts of sort and uniq.
func TestWordcountAgreesWithTheTools(t *testing.T) {
	slow(t)
	for _, tool := range []string{"wc", "tr", "sort", "uniq", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	file := filepath.Join(t.TempDir(), "text")
	input := text(t, 110_000)
	require.NoError(t, os.WriteFile(file, input, 0o600))
	s := newStage(t, plan{daemon: "wordcount", input: bytes.Split(bytes.TrimSuffix(input, []byte("\n")), []byte("\n"))})
	for range 5 {
		s.busy(20_000)
		victim, st := s.active()
		s.kill(victim)
		s.after(st.Term)
		s.start(victim)
		s.healthy()
	}
	s.finish()

	sh := func(script string) string {
		cmd := exec.CommandContext(s.ctx, "sh", "-c", script, "sh", file)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err := cmd.Output()
		require.NoError(t, err)
		var tidy []string
		for line := range strings.Lines(string(out)) {
			tidy = append(tidy, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(tidy, "\n") + "\n"
	}
	ask := func(q string) string {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		got, err := s.client.Query(ctx, []byte(q), false)
		require.NoError(t, err)
		return string(got.Data)
	}
	require.Equal(t, sh(`wc <"$1"`), ask("totals"))
	s.same("the group", []byte(sh(`tr -s '[:space:]' '\n' <"$1" | grep -v '^$' | sort | uniq -c`)), []byte(ask("words")))
}
