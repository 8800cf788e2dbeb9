package integration

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// usage watches what members take of the machine, from /proc, once all is
// quiet. It remembers the most that was seen at first, and ever.
type usage struct {
	members []*member
	looks   int
	base    [3]int // most of the first looks
	most    [3]int
	own     uint64 // most of this process's own heap
}

// settling is how many looks it takes until the members have what they need.
const settling = 20

var usageNames = [3]string{"memory in MiB", "threads", "open files"}

func newUsage(members []*member) *usage { return &usage{members: members} }

// look takes the numbers of now. No member may have grown much beyond what any
// had at first: the bounds are for leaks, which have no bound.
func (u *usage) look(t *testing.T) string {
	t.Helper()
	var now [3]int
	for _, m := range u.members {
		for i, n := range m.usage() {
			now[i] = max(now[i], n)
		}
	}
	if u.looks++; u.looks <= settling {
		for i, n := range now {
			u.base[i] = max(u.base[i], n)
		}
	}
	slack := [3]int{256, 64, 128}
	for i, n := range now {
		u.most[i] = max(u.most[i], n)
		require.LessOrEqual(t, n, 2*u.base[i]+slack[i], "%s of a member, which took %d at first", usageNames[i], u.base[i])
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	u.own = max(u.own, ms.HeapAlloc)
	require.Less(t, u.own, uint64(512<<20), "the checker's own heap")
	return fmt.Sprintf("%d MiB, %d threads, %d files", now[0], now[1], now[2])
}

func (u *usage) sum() string {
	var out []string
	for i, name := range usageNames {
		out = append(out, fmt.Sprintf("%s %d (at first %d)", name, u.most[i], u.base[i]))
	}
	return strings.Join(out, ", ") + fmt.Sprintf("; the checker's heap %d MiB", u.own>>20)
}

// usage is a member's memory in MiB, threads and open files, zeros where the
// system does not tell.
func (m *member) usage() (out [3]int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.Pid()))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "VmRSS:":
			out[0] = n >> 10
		case "Threads:":
			out[1] = n
		}
	}
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.Pid())); err == nil {
		out[2] = len(files)
	}
	return out
}

// number is one from the environment, for runs by hand.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	require.Positive(t, n, name)
	return n
}
