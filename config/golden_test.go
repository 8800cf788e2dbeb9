package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
	"github.com/understudy-ha/understudy/standby"
)

var keyFiles = []string{"log.key", "cosign.key", "box.key"}

func TestGoldenKeys(t *testing.T) {
	k := testkit.Keys("a")
	want := standby.Keys{Log: k.Log, Cosign: k.Cosign, Box: k.Box}
	dir := t.TempDir()
	require.NoError(t, config.SaveKeys(dir, want))
	for _, name := range keyFiles {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		golden.Text(t, name, b)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), golden.ReadText(t, name), 0o600))
	}
	got, err := config.LoadKeys(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// A configuration is read or refused, whatever is in the file, and takes
// memory in proportion to it.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("group: g\nmember: a\npeers: {a: \"h:1\"}\n"))
	f.Add([]byte("peers: [a, b]\nsync_interval: {x: 1}\n"))
	path := filepath.Join(f.TempDir(), "m.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		golden.Bounded(t, 64*len(data), func() { config.Load(path, nil) })
	})
}

// A key file holds the key that it gives, or it is refused. Capitals and a
// missing end of line, as a hand may make them, change nothing.
func FuzzKeyFile(f *testing.F) {
	golden.SeedText(f, keyFiles...)
	k := testkit.Keys("a")
	dir := f.TempDir()
	require.NoError(f, config.SaveKeys(dir, standby.Keys{Log: k.Log, Cosign: k.Cosign, Box: k.Box}))
	path := filepath.Join(dir, "log.key")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		got, err := config.LoadKeys(dir)
		if err != nil {
			return
		}
		require.NoError(t, config.SaveKeys(dir, got))
		back, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, strings.EqualFold(string(back), strings.TrimSuffix(string(b), "\n")+"\n"))
	})
}
