package house

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// Each package has one comment, and it says more than its name.
func TestPackageComments(t *testing.T) {
	for dir, p := range packages(t) {
		var docs []string
		for _, f := range p.sources {
			if f.Doc != nil {
				docs = append(docs, f.Doc.Text())
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has %d package comments: one file has it", dir, len(docs))
			continue
		}
		if n := strings.Count(strings.TrimSpace(docs[0]), "\n") + 1; n < 3 {
			t.Errorf("%s has a package comment of %d lines: say what it is for, how it is used and what it does not do", dir, n)
		}
		if want := "Package " + path.Base(dir) + " "; !strings.HasPrefix(docs[0], want) && !strings.HasPrefix(dir, "cmd/") {
			t.Errorf("the package comment of %s begins with %.40q, not %q", dir, docs[0], want)
		}
	}
}

// Every exported name says what it is.
func TestExportedNames(t *testing.T) {
	for dir, p := range packages(t) {
		for _, f := range p.sources {
			for _, d := range f.Decls {
				for _, name := range undocumented(d) {
					t.Errorf("%s: %s has no comment", dir, name)
				}
			}
		}
	}
}

// undocumented are the exported names of a declaration that nothing explains.
func undocumented(d ast.Decl) []string {
	var out []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d)) && !wellKnown(d) {
			out = append(out, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					out = append(out, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					out = append(out, s.Names[0].Name)
				}
			}
		}
	}
	return out
}

func exportedReceiver(d *ast.FuncDecl) bool {
	e := d.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	if i, ok := e.(*ast.IndexExpr); ok {
		e = i.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}

// wellKnown methods are explained by the interface that everybody knows.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "String", "MarshalText", "UnmarshalText", "Read", "Write", "Close", "WriteTo",
		"Name", "Process", "Snapshot", "Restore", "RestoreFrom", "Capture", "CanonicalSnapshot", "Query"}, d.Name.Name)
}

// The check finds what it is for.
func TestExportedNamesControl(t *testing.T) {
	bare := &ast.FuncDecl{Name: ast.NewIdent("Bare")}
	require.Equal(t, []string{"Bare"}, undocumented(bare))
	bare.Doc = &ast.CommentGroup{}
	require.Empty(t, undocumented(bare))
	require.Equal(t, []string{"T"}, undocumented(&ast.GenDecl{Tok: token.TYPE, Specs: []ast.Spec{&ast.TypeSpec{Name: ast.NewIdent("T")}}}))
}

// documents are the texts for users, by path.
func documents(t *testing.T) map[string]string {
	docs := make(map[string]string)
	for _, name := range files(t) {
		if path.Ext(name) == ".md" {
			b, err := os.ReadFile(filepath.Join(root, name))
			require.NoError(t, err)
			docs[name] = string(b)
		}
	}
	require.Greater(t, len(docs), 3)
	return docs
}

// Tests that a document names as evidence are there.
func TestNamedTests(t *testing.T) {
	there := make(map[string]bool)
	for _, name := range files(t) {
		if strings.HasSuffix(name, "_test.go") {
			b, err := os.ReadFile(filepath.Join(root, name))
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`).FindAllSubmatch(b, -1) {
				there[string(m[1])] = true
			}
		}
	}
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile(`\b((?:Test|Fuzz|Benchmark)[A-Z]\w*)`).FindAllStringSubmatch(text, -1) {
			if !there[m[1]] {
				t.Errorf("%s names %s, and there is no such test", name, m[1])
			}
		}
	}
}

// A `go test` names its packages first: a flag that the go command does not know
// takes all that follows for the test, and another package is tested.
func TestPackagesComeFirst(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile(`go test -.*`).FindAllString(text, -1) {
			t.Errorf("%s: %s", name, m)
		}
	}
}

// Links within the repository lead somewhere.
func TestLinks(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := path.Join(path.Dir(name), m[1])
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}

// The table of dependencies in docs/architecture.md is go.mod's, each with a reason.
func TestDependencies(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	mod, err := modfile.Parse("go.mod", b, nil)
	require.NoError(t, err)
	require.Empty(t, mod.Replace, "replace does not reach those who embed this module")
	var want []string
	for _, r := range mod.Require {
		tool := slices.ContainsFunc(mod.Tool, func(t *modfile.Tool) bool { return strings.HasPrefix(t.Path, r.Mod.Path+"/") })
		if !r.Indirect || tool {
			want = append(want, r.Mod.Path)
		}
	}
	slices.Sort(want)
	doc, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(doc), "## Direct dependencies\n")
	require.True(t, ok)
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9./-]+)` \\| \\S.* \\|$").FindAllStringSubmatch(table, -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	require.Equal(t, want, got)
}
