package house

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rank orders the public packages: each may use those of a lower rank and its
// own sub-packages.
var rank = map[string]int{"chain": 0, "host": 1, "continuity": 1, "fsm": 2, "standby": 3, "config": 4, "cmd": 5, "integration": 5}

// forbidden are modules that a public package does not use, not even through
// another package.
var forbidden = map[string][]string{
	"chain":      {"github.com/hashicorp/", "github.com/spf13/"},
	"host":       {"github.com/hashicorp/", "github.com/spf13/"},
	"continuity": {"github.com/hashicorp/", "github.com/spf13/"},
	"fsm":        {"github.com/spf13/", "net/http"},
	"standby":    {"github.com/spf13/"},
}

func top(dir string) string { d, _, _ := strings.Cut(dir, "/"); return d }

// Imports run one way: chain <- host, continuity <- fsm <- standby <- config, cmd.
func TestImports(t *testing.T) {
	require.Empty(t, misuse(graph(t)))
}

// The check finds what it is for.
func TestImportsControl(t *testing.T) {
	for from, to := range map[string]string{
		"chain":            module + "/host",
		"host":             module + "/continuity",
		"internal/durable": module + "/config", // standby uses durable
		"continuity":       "github.com/hashicorp/raft",
		"standby/client":   "github.com/spf13/viper",
	} {
		g := graph(t)
		g[from][to] = true
		require.NotEmpty(t, misuse(g), "%s imports %s", from, to)
	}
}

// graph is what each package imports.
func graph(t *testing.T) map[string]map[string]bool {
	g := make(map[string]map[string]bool)
	for dir, p := range packages(t) {
		g[dir] = p.imports
	}
	return g
}

// misuse lists the imports that a public package must not have, direct or not.
func misuse(g map[string]map[string]bool) []string {
	var bad []string
	for dir := range g {
		mine, public := rank[top(dir)]
		if !public {
			continue
		}
		for used := range reach(g, dir) {
			inner, ours := strings.CutPrefix(used, module+"/")
			other, public := rank[top(inner)]
			if ours && public && top(inner) != top(dir) && other >= mine {
				bad = append(bad, dir+" uses "+inner+", which stands above or beside it")
			}
			for _, f := range forbidden[top(dir)] {
				if strings.HasPrefix(used, f) {
					bad = append(bad, dir+" uses "+used)
				}
			}
		}
	}
	return bad
}

// reach is everything that a package imports, through this module's packages.
func reach(g map[string]map[string]bool, dir string) map[string]bool {
	seen := make(map[string]bool)
	var walk func(string)
	walk = func(dir string) {
		for used := range g[dir] {
			if seen[used] {
				continue
			}
			seen[used] = true
			if inner, ours := strings.CutPrefix(used, module+"/"); ours {
				walk(inner)
			}
		}
	}
	walk(dir)
	return seen
}
