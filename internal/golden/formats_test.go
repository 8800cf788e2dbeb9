package golden_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// named is what the code calls its formats: BLAKE3 contexts, magics and the
// headers of texts.
func named(t *testing.T) (contexts, marks []string) {
	mark := regexp.MustCompile(`^(US[A-Z][0-9]|understudy/[a-z-]+@v[0-9]+|EXPORTER-[a-z-]+)$`)
	literal := func(n ast.Node) string {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			s, err := strconv.Unquote(l.Value)
			require.NoError(t, err)
			return s
		}
		return ""
	}
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if s := literal(n); mark.MatchString(s) {
					marks = append(marks, s)
				}
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if slices.Contains([]string{"Derive", "NewHasher", "newPool"}, name) && len(n.Args) > 0 && literal(n.Args[0]) != "" {
					contexts = append(contexts, literal(n.Args[0]))
				}
			case *ast.FuncDecl: // the contexts of records are in a table
				if n.Name.Name == "RecordDigest" {
					ast.Inspect(n, func(n ast.Node) bool {
						if kv, ok := n.(*ast.KeyValueExpr); ok {
							contexts = append(contexts, literal(kv.Value))
						}
						return true
					})
				}
			}
			return true
		})
	})
	slices.Sort(contexts)
	slices.Sort(marks)
	return slices.Compact(contexts), slices.Compact(marks)
}

// walk visits the repository's files.
func walk(t *testing.T, visit func(path string)) {
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() {
			visit(path)
		}
		return err
	})
	require.NoError(t, err)
}

// What the code stores, sends or hashes under a name has its place in
// docs/formats.md, and every golden file is named there.
func TestEveryFormatIsDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs", "formats.md"))
	require.NoError(t, err)
	doc := string(b)

	contexts, marks := named(t)
	require.Contains(t, contexts, "event", "the walk finds contexts")
	require.Contains(t, marks, "USL1", "the walk finds magics")
	_, table, _ := strings.Cut(doc, "\n| what |")
	table, _, _ = strings.Cut(table, "\n\n")
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z ]+)` \\|").FindAllStringSubmatch(table, -1) {
		rows = append(rows, m[1])
	}
	slices.Sort(rows)
	require.Equal(t, contexts, rows, "the contexts of the code and of the table of digests")
	for _, m := range marks {
		require.True(t, strings.Contains(doc, m), "docs/formats.md has no section with %s", m)
	}

	var files []string
	walk(t, func(path string) {
		if name, ok := strings.CutSuffix(path, ".golden"); ok {
			files = append(files, strings.Replace(filepath.ToSlash(name), "/testdata/", "/", 1))
		}
	})
	var listed []string
	for _, line := range regexp.MustCompile(`(?m)^Golden: (.*(?:\n.+)*)`).FindAllStringSubmatch(doc, -1) {
		for _, m := range regexp.MustCompile("`([^`]+/[^`]+)`").FindAllStringSubmatch(line[1], -1) {
			listed = append(listed, m[1])
		}
	}
	slices.Sort(files)
	slices.Sort(listed)
	require.Equal(t, files, slices.Compact(listed), "the golden files that there are and that docs/formats.md names")
}

// CI runs each fuzz target by its name alone.
func TestFuzzTargetsHaveTheirOwnNames(t *testing.T) {
	where := make(map[string]string)
	walk(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		b, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(b), -1) {
			require.Empty(t, where[m[1]], "%s is in %s too", m[1], path)
			where[m[1]] = path
		}
	})
	require.NotEmpty(t, where)
}
