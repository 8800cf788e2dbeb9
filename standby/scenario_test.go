package standby

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/golden"
)

// TestScenarios runs testdata/*.txt: a command a line, what it prints indented
// under it, # for comments. A group has no output that depends on chance:
// numbers of events, never positions, and counts of roles where an election
// decides. `active NAME` moves the role there.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var got string
			simulate(t, func(t *testing.T) { got = play(t, string(text)) })
			if golden.Updating() {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got, "run with -update to accept")
		})
	}
}

// play runs a scenario and gives it back with what it printed.
func play(t *testing.T, text string) string {
	var out strings.Builder
	sc := &scenario{t: t, held: make(map[string]continuity.Held), sent: make(map[string]string)}
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "  "):
			continue // what it printed last time
		case len(words) == 0 || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
			continue
		}
		fmt.Fprintln(&out, line)
		do, ok := scenarioVerbs[words[0]]
		require.True(t, ok, "line %d: no command %q", n+1, words[0])
		printed := do(sc, words[1:])
		for l := range strings.Lines(printed) {
			fmt.Fprintf(&out, "  %s\n", strings.TrimRight(l, "\n"))
		}
	}
	sc.bg.Wait()
	return out.String()
}

// member resolves a name: active, victim (whom the last fault hit), standby
// (any that is neither), or a member's own.
func (sc *scenario) member(word string) string {
	switch word {
	case "active":
		return sc.c.active().cfg.Member
	case "victim":
		return sc.victim
	case "standby":
		a := sc.c.active().cfg.Member
		for _, name := range sc.names() {
			if name != a && name != sc.victim && sc.c.members[name].group() != nil {
				return name
			}
		}
	}
	require.Contains(sc.t, sc.names(), word)
	return word
}

func (sc *scenario) names() (names []string) {
	for _, m := range sc.c.f.Roster.Members {
		names = append(names, m.Name)
	}
	return names
}

// hit resolves the members that a fault is for.
func (sc *scenario) hit(words []string) (names []string) {
	for _, w := range words {
		if w == "all" {
			return sc.names()
		}
		sc.victim = sc.member(w)
		names = append(names, sc.victim)
	}
	return names
}

// options are the words key=value of a members line.
func (sc *scenario) options(words []string) (daemon, alone func() host.Daemon, tune func(*Config), ttl time.Duration) {
	daemon = newTally
	var tunes []func(*Config)
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "daemon":
			daemon, alone = scenarioDaemon(value)
		case "sync":
			d, err := time.ParseDuration(value)
			require.NoError(sc.t, err)
			tunes = append(tunes, func(c *Config) { c.SyncInterval = d })
		case "verify":
			tunes = append(tunes, func(c *Config) { c.VerifySync = VerifySync(value) })
		case "journal":
			n, err := strconv.Atoi(value)
			require.NoError(sc.t, err)
			tunes = append(tunes, func(c *Config) { c.MaxJournalSteps = n })
		case "log":
			n, err := strconv.Atoi(value)
			require.NoError(sc.t, err)
			tunes = append(tunes, func(c *Config) { c.TrailingLogs, c.SnapshotInterval = uint64(n), time.Second })
		case "ttl":
			d, err := time.ParseDuration(value)
			require.NoError(sc.t, err)
			ttl = d
		default:
			require.Fail(sc.t, "no option", key)
		}
	}
	return daemon, alone, func(c *Config) {
		c.SyncInterval = time.Hour // no checkpoint unless the scenario asks for one
		for _, f := range tunes {
			f(c)
		}
	}, ttl
}

func scenarioDaemon(name string) (daemon, alone func() host.Daemon) {
	switch name {
	case "forgetful":
		return func() host.Daemon { return &forgetful{} }, newTally
	case "stateless":
		return func() host.Daemon { return stateless{} }, nil
	case "wayward":
		var ids atomic.Uint64
		return func() host.Daemon { return &wayward{id: ids.Add(1)} }, nil
	}
	return newTally, nil
}

// span reads "4" or "1..10".
func (sc *scenario) span(word string) (from, to uint64) {
	a, b, ok := strings.Cut(word, "..")
	from, err := strconv.ParseUint(a, 10, 64)
	require.NoError(sc.t, err)
	if to = from; ok {
		to, err = strconv.ParseUint(b, 10, 64)
		require.NoError(sc.t, err)
	}
	return from, to
}

// tallied counts equal lines, in the order of their first.
func tallied(lines []string) string {
	var order []string
	n := make(map[string]int)
	for _, l := range lines {
		if n[l]++; !slices.Contains(order, l) {
			order = append(order, l)
		}
	}
	for i, l := range order {
		order[i] = fmt.Sprintf("%d %s", n[l], l)
	}
	return strings.Join(order, "\n")
}
