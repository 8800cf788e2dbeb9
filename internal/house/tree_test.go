package house

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/understudy-ha/understudy"
	root   = "../.."
)

// ignored are the names and patterns in .gitignore.
func ignored(t *testing.T) func(name string) bool {
	b, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	require.NoError(t, err)
	patterns := strings.Fields(string(b))
	return func(name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, _ := path.Match(strings.TrimPrefix(p, "/"), path.Base(name))
			return ok && (p[0] != '/' || !strings.Contains(name, "/"))
		})
	}
}

// files are the repository's, by their slash-separated path from its root.
func files(t *testing.T) []string {
	skip := ignored(t)
	var out []string
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		name = filepath.ToSlash(name)
		switch {
		case name == ".git" && d.IsDir():
			return fs.SkipDir
		case d.IsDir() || name == ".git" || skip(name):
			return err
		}
		out = append(out, name)
		return err
	}))
	require.Greater(t, len(out), 100)
	return out
}

// pkg is one package as its files say.
type pkg struct {
	dir     string // from the root
	sources []*ast.File
	imports map[string]bool // of files that are not tests
}

// packages parses every package, without what go test alone compiles.
func packages(t *testing.T) map[string]*pkg {
	all := make(map[string]*pkg)
	fset := token.NewFileSet()
	for _, name := range files(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata/") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(root, name), nil, parser.ParseComments)
		require.NoError(t, err)
		dir := path.Dir(name)
		p := all[dir]
		if p == nil {
			p = &pkg{dir: dir, imports: make(map[string]bool)}
			all[dir] = p
		}
		p.sources = append(p.sources, f)
		for _, i := range f.Imports {
			p.imports[strings.Trim(i.Path.Value, `"`)] = true
		}
	}
	require.Greater(t, len(all), 20)
	return all
}

// The root holds what a visitor looks for and nothing else.
func TestTopLevel(t *testing.T) {
	allowed := strings.Fields("go.mod go.sum cmd fsm standby host chain continuity config integration README.md LICENSE CHANGELOG.md docs internal")
	skip := ignored(t)
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !skip(e.Name()) {
			require.Contains(t, allowed, e.Name(), "this does not belong to the root of the repository")
		}
	}
}

const (
	maxFile  = 1 << 20
	maxLines = 470
)

// Files stay small enough to be read.
func TestSizes(t *testing.T) {
	for _, name := range files(t) {
		b, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		if len(b) > maxFile {
			t.Errorf("%s has %d bytes, at most %d are kept here", name, len(b), maxFile)
		}
		lines := 0
		for s := bufio.NewScanner(bytes.NewReader(b)); strings.HasSuffix(name, ".go") && s.Scan(); {
			lines++
		}
		if lines > maxLines {
			t.Errorf("%s has %d lines: split it by what it is about, %d are enough", name, lines, maxLines)
		}
	}
}
