package found_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/found"
)

// solo is a group of one member.
func solo(group, member string) found.Group {
	return found.Group{Name: group, Daemon: "kv", Members: []found.Member{{Name: member, Peer: "127.0.0.1:7401", API: "127.0.0.1:7501"}}}
}

// Names that YAML takes for numbers, dates or nothing are names nevertheless.
func TestNamesThatYAMLReadsOtherwise(t *testing.T) {
	for _, name := range []string{"0755", "08", "1e3", "null", "true", "2026-11-29", "0x1f", "1"} {
		dir := filepath.Join(t.TempDir(), "g")
		_, err := found.Create(dir, solo(name, name), time.Now())
		require.NoError(t, err)
		m, err := config.Load(filepath.Join(dir, name, found.ConfigFile), nil)
		require.NoError(t, err, name)
		require.Equal(t, name, m.Group)
		require.Equal(t, name, m.Member)
		require.Equal(t, map[string]string{name: "127.0.0.1:7401"}, m.Peers)
		require.Equal(t, map[string]string{name: "127.0.0.1:7501"}, m.APIs)
	}
}

// An address that the members could not reach or would refuse to start with is
// refused while the group can still be made anew.
func TestAddressesThatNobodyReaches(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1":       "is not host:port",
		"127.0.0.1:http":  "the port must be 1 to 65535",
		"127.0.0.1:99999": "the port must be 1 to 65535",
		"127.0.0.1:0":     "the port must be 1 to 65535",
		":7401":           "others cannot reach",
		"0.0.0.0:7401":    "others cannot reach",
		"[::]:7401":       "others cannot reach",
	} {
		for _, peer := range []bool{true, false} {
			g := solo("g", "a")
			if g.Members[0].API = addr; peer {
				g = solo("g", "a")
				g.Members[0].Peer = addr
			}
			dir := filepath.Join(t.TempDir(), "g")
			_, err := found.Create(dir, g, time.Now())
			require.ErrorContains(t, err, want, addr)
			_, err = os.Stat(dir)
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	}
	g := solo("g", "a")
	g.Members[0].Peer, g.Members[0].API = "[::1]:7401", "[::1]:7501"
	_, err := found.Create(filepath.Join(t.TempDir(), "g"), g, time.Now())
	require.NoError(t, err)
}

// Of two who found a group in one directory at once, one does. The other one
// leaves it alone.
func TestTwoFoundAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "g")
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := found.Create(dir, solo("g", "a"), time.Now())
			errs <- err
		}()
	}
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	require.NoError(t, first)
	require.ErrorContains(t, second, "choose another")
	m, err := config.Load(filepath.Join(dir, "a", found.ConfigFile), nil)
	require.NoError(t, err)
	_, err = m.Standby(nil, nil, "")
	require.NoError(t, err)
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 2, "a member and the founding record: %v", names)
}
