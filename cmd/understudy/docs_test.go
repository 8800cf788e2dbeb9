package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// repo is the repository's root as seen from this package.
const repo = "../.."

// root is where the documents are; the scripts run elsewhere.
var root, _ = filepath.Abs(repo)

// blocks DOC FILE [OLD NEW]…: writes the sh blocks of a document to a file, as
// one script, with each OLD replaced. The document is the test. It keeps its
// members' process ids in $a, $b and $c.
func blocks(ts *testscript.TestScript, neg bool, args []string) {
	doc, err := os.ReadFile(filepath.Join(root, args[0]))
	ts.Check(err)
	script := strings.Join(fenced(string(doc), "sh"), "")
	if script == "" {
		ts.Fatalf("%s has no sh block", args[0])
	}
	for i := 2; i+1 < len(args); i += 2 {
		if !strings.Contains(script, args[i]) {
			ts.Fatalf("%s no longer says %s", args[0], args[i])
		}
		script = strings.ReplaceAll(script, args[i], args[i+1])
	}
	// Members that a failing script leaves behind are ended.
	script = "trap 'kill ${a:-} ${b:-} ${c:-} 2>/dev/null || :; wait' EXIT\n" + script
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(script), 0o600))
}

// fenced are the blocks of a document in a language.
func fenced(doc, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(doc, -1) {
		out = append(out, m[1])
	}
	return out
}

// Every command line in a document names a command and flags that there are.
func TestDocumentedCommands(t *testing.T) {
	docs, err := filepath.Glob(filepath.Join(repo, "docs", "*.md"))
	require.NoError(t, err)
	seen := 0
	for _, path := range append(docs, filepath.Join(repo, "README.md"), filepath.Join(repo, "CHANGELOG.md")) {
		doc, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, line := range commandLines(string(doc)) {
			seen++
			if err := parses(line); err != nil {
				t.Errorf("%s: %q: %v", strings.TrimPrefix(path, repo+"/"), line, err)
			}
		}
	}
	require.Greater(t, seen, 30, "the documents' commands are not found any more")
}

// The check finds what it is for.
func TestDocumentedCommandsControl(t *testing.T) {
	for line, fault := range map[string]string{
		"understudy status -w":                       "",
		"understudy run --config m.yaml & a=$!":      "",
		"understudy deliver 'a b' > file":            "",
		"understudy switchover --at noon":            "unknown flag: --at",
		"understudy fly":                             "no such command",
		"go run ./cmd/understudy drill --rounds x":   "invalid argument",
		"understudy query":                           "accepts 1 arg(s)",
		"understudy run --sync-interval=1s --hotter": "unknown flag: --hotter",
	} {
		if err := parses(line); fault == "" {
			require.NoError(t, err, line)
		} else {
			require.ErrorContains(t, err, fault)
		}
	}
	lines := commandLines("    $ understudy a \\\n        --b\n`understudy c`, `understudy 2026 hash`, understudy is\n```\nunderstudy d\n```\n# understudy e\n")
	require.Equal(t, []string{"understudy a --b", "understudy d", "understudy c ..."}, lines)
}

var (
	continued = regexp.MustCompile(` *\\\n *`)
	typed     = regexp.MustCompile(`(?m)^ *(?:\$ |until |sudo )?((?:understudy|go run \./cmd/understudy) [a-z-].*)$`)
	inline    = regexp.MustCompile("`((?:understudy|go run \\./cmd/understudy) [a-z-][^`\n]*)`")
	prose     = regexp.MustCompile(`(?m)^\S.*$`)
)

// commandLines are a document's lines that are typed, and the commands named
// in its text, which may leave out arguments: they end in "...".
func commandLines(doc string) []string {
	doc = continued.ReplaceAllString(doc, " ")
	var typedIn strings.Builder
	fence := false
	for line := range strings.Lines(doc) {
		switch {
		case strings.HasPrefix(line, "```"):
			fence = !fence
		case fence, !prose.MatchString(line):
			typedIn.WriteString(line)
		}
	}
	var out []string
	for _, m := range typed.FindAllStringSubmatch(typedIn.String(), -1) {
		out = append(out, m[1])
	}
	for _, m := range inline.FindAllStringSubmatch(doc, -1) {
		out = append(out, m[1]+" ...")
	}
	return out
}

// words splits a command line as far as the documents need it.
var words = regexp.MustCompile(`'[^']*'|"[^"]*"|[&|;<>]|[^\s'"&|;<>]+`)

// parses says whether a command line would get as far as running.
func parses(line string) error {
	line = strings.TrimPrefix(strings.TrimPrefix(line, "go run ./cmd/"), "understudy")
	line, mentioned := strings.CutSuffix(line, " ...")
	var args []string
	for _, w := range words.FindAllString(line, -1) {
		if strings.ContainsAny(w, "&|;<>") && len(w) == 1 || strings.HasPrefix(w, "#") {
			break
		}
		args = append(args, strings.Trim(w, `'"`))
	}
	root := newRoot()
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if c == root && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return errors.New("there is no such command")
	}
	c.InitDefaultHelpFlag()
	if err := c.ParseFlags(rest); err != nil || mentioned {
		return err
	}
	return errors.Join(c.ValidateRequiredFlags(), validArgs(c))
}

func validArgs(c *cobra.Command) error { return c.ValidateArgs(c.Flags().Args()) }
