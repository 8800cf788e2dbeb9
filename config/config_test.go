package config_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/found"
)

type nothing struct{}

func (nothing) Name() string                          { return "nothing" }
func (nothing) Process(chain.Event) ([][]byte, error) { return nil, nil }

func group() found.Group {
	return found.Group{Name: "books", Daemon: "ledger", Members: []found.Member{
		{Name: "a", Peer: "127.0.0.1:7401", API: "127.0.0.1:7501"},
		{Name: "b", Peer: "127.0.0.1:7402", API: "127.0.0.1:7502"},
		{Name: "c", Peer: "127.0.0.1:7403", API: "127.0.0.1:7503"},
	}}
}

func create(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "g")
	_, err := found.Create(dir, group(), time.Now())
	require.NoError(t, err)
	return dir
}

func TestCreatedGroupLoads(t *testing.T) {
	dir := create(t)
	for _, name := range []string{"a", "b", "c"} {
		m, err := config.Load(filepath.Join(dir, name, found.ConfigFile), nil)
		require.NoError(t, err)
		cfg, err := m.Standby(func() host.Daemon { return nothing{} }, slog.New(slog.DiscardHandler), "v")
		require.NoError(t, err)
		require.Equal(t, name, cfg.Member)
		require.Equal(t, filepath.Join(dir, name, "data"), cfg.Dir)
		require.Equal(t, time.Second, cfg.Heartbeat)
		me, ok := cfg.Founding.Roster.Member(name)
		require.True(t, ok)
		require.Equal(t, me.LogKey, cfg.Keys.Log.ID())
		require.Equal(t, me.BoxKey, cfg.Keys.Box.Public())
		for _, secret := range []string{"keys/log.key", "keys/cosign.key", "keys/box.key", "tls/member.key"} {
			st, err := os.Stat(filepath.Join(dir, name, secret))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), secret)
		}
	}
	_, err := found.Create(dir, group(), time.Now())
	require.ErrorContains(t, err, "not empty")

	key := filepath.Join(dir, "a", "keys", "log.key")
	require.NoError(t, os.Chmod(key, 0o644))
	m, err := config.Load(filepath.Join(dir, "a", found.ConfigFile), nil)
	require.NoError(t, err)
	_, err = m.Standby(func() host.Daemon { return nothing{} }, nil, "v")
	require.ErrorContains(t, err, "chmod 600")
}

func TestCreateRefusesNonsense(t *testing.T) {
	g := group()
	g.Name = "Not A Name"
	g.Members[1].Name = "a"
	g.Members[2].Peer = "127.0.0.1:7401"
	g.Members[0].API = "nowhere"
	dir := filepath.Join(t.TempDir(), "g")
	_, err := found.Create(dir, g, time.Now())
	for _, want := range []string{"group name", "there twice", "is the peer address of a already", `"nowhere" is not host:port`} {
		require.ErrorContains(t, err, want)
	}
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Every source wins over the one before it, for every key.
func TestPrecedence(t *testing.T) {
	values := map[string][3]string{ // file, environment, flag
		"group": {"g1", "g2", "g3"}, "member": {"a", "b", "c"}, "daemon": {"kv", "ledger", "wordcount"},
		"listen": {"h:1", "h:2", "h:3"}, "api": {"localhost:1", "localhost:2", "localhost:3"},
		"insecure": {"false", "true", "false"}, "profile": {"wan", "lan", "lan-fast"}, "verify_sync": {"all", "off", "turns"},
		"raft_store":   {"boltdb", "file", "boltdb"},
		"standby_mode": {"hot", "warm", "hot"}, "never_active": {"true", "false", "true"}, "crash_detection": {"false", "true", "false"}, "queue_events": {"1", "2", "3"},
		"queue_bytes": {"1MiB", "2MiB", "3MiB"}, "outputs_retention_bytes": {"1GiB", "2GiB", "3GiB"},
		"peers": {"a=h:1", "a=h:2,b=h:3,c=h:4", "a=h:5,b=h:6,c=h:7"}, "apis": {"a=h:1", "a=h:2", "a=h:3"},
		"capability_tags": {"x", "y", "z"}, "capability_values": {"x=1", "y=2", "z=3"},
		"log_level": {"debug", "warn", "error"}, "log_format": {"json", "text", "json"},
		"heartbeat": {"8s", "7s", "9s"}, "election": {"8s", "7s", "9s"}, "api_cert": {"c1", "c2", "c3"}, "api_key": {"k1", "k2", "k3"},
	}
	for _, o := range config.Options() {
		if _, ok := values[o.Key]; !ok {
			values[o.Key] = [3]string{"1s", "2s", "3s"}
		}
	}
	path := filepath.Join(t.TempDir(), "m.yaml")
	var yaml strings.Builder
	for k, v := range values {
		yaml.WriteString(k + ": " + quoteTable(k, v[0]) + "\n")
	}
	require.NoError(t, os.WriteFile(path, []byte(yaml.String()), 0o600))
	check := func(level int, from string, flags *pflag.FlagSet) {
		m, err := config.Load(path, flags)
		require.NoError(t, err)
		for _, s := range m.Effective() {
			require.Equal(t, values[s.Key][level], s.Value, s.Key)
			require.Contains(t, s.From, from)
		}
		require.Len(t, m.Effective(), len(config.Options()))
	}
	check(0, path, nil)
	for _, o := range config.Options() {
		t.Setenv(o.Env(), values[o.Key][1])
	}
	check(1, "environment variable UNDERSTUDY_", nil)
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(fs)
	for _, o := range config.Options() {
		require.NoError(t, fs.Set(o.Flag(), values[o.Key][2]))
	}
	check(2, "flag --", fs)
}

func quoteTable(key, v string) string {
	switch key {
	case "peers", "apis", "capability_values":
		name, value, _ := strings.Cut(v, "=")
		return "{" + name + ": \"" + value + "\"}"
	case "capability_tags":
		return "[" + v + "]"
	}
	return "\"" + v + "\""
}

func TestErrorsNameThePlaceAndTheRemedy(t *testing.T) {
	good := "group: g\nmember: a\ndaemon: kv\nlisten: h:1\npeers: {a: \"h:1\", b: \"h:2\"}\n"
	path := filepath.Join(t.TempDir(), "m.yaml")
	for name, c := range map[string]struct{ yaml, env, want string }{
		"unknown key":      {good + "listne: x\n", "", "m.yaml: key listne is unknown: did you mean listen?"},
		"duplicate key":    {good + "group: h\n", "", "already defined"},
		"bad duration":     {good + "sync_interval: 5 parsecs\n", "", `m.yaml: key sync_interval: "5 parsecs" is not a duration: write a number with a unit`},
		"bad size":         {good + "queue_bytes: lots\n", "", `key queue_bytes: "lots" is not a size`},
		"bad choice":       {good + "profile: moon\n", "", `key profile: is "moon": use one of lan, lan-fast, wan`},
		"missing":          {"group: g\ndaemon: kv\nlisten: h:1\npeers: {a: \"h:1\"}\n", "", "key member is not set: it needs a value"},
		"duplicate member": {good, "UNDERSTUDY_PEERS=a=h:1,a=h:2", `environment variable UNDERSTUDY_PEERS: "a" is there twice: keep one`},
		"same address":     {good, "UNDERSTUDY_PEERS=a=h:1,b=h:1", "a and b have the same address h:1"},
		"unknown variable": {good, "UNDERSTUDY_LISTNE=x", "environment variable UNDERSTUDY_LISTNE is unknown: did you mean UNDERSTUDY_LISTEN?"},
		"no port":          {good + "api: localhost\n", "", `key api: "localhost" is not host:port`},
		"open to all":      {good + "api: 0.0.0.0:80\n", "", "set api_cert and api_key, or insecure: true"},
		"short election":   {good + "heartbeat: 3s\n", "", "key election is not set: 1s is shorter than heartbeat, 3s: use at least as much"},
		"one door":         {good + "api: h:1\ninsecure: true\n", "", "key api: h:1 is the address of listen too: give each its own"},
		"nested":           {good + "profile: {a: b}\n", "", "write a single value"},
		"not yaml":         {"\tgroup: [", "", "m.yaml"},
		"too large":        {strings.Repeat("#", 2<<20), "", "is it the right file?"},
	} {
		t.Run(name, func(t *testing.T) {
			if k, v, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(k, v)
			}
			require.NoError(t, os.WriteFile(path, []byte(c.yaml), 0o600))
			_, err := config.Load(path, nil)
			require.ErrorContains(t, err, c.want)
		})
	}
	require.NoError(t, os.WriteFile(path, []byte(good+"x: 1\nlease: 99s\nprofile: moon\n"), 0o600))
	_, err := config.Load(path, nil)
	require.Len(t, strings.Split(err.Error(), "\n"), 3, "all problems at once: %v", err)
}

func TestTokens(t *testing.T) {
	dir := create(t)
	file := filepath.Join(dir, "tokens")
	m := config.Member{APITokens: file}
	require.NoError(t, os.WriteFile(file, []byte("# ours\nread 0123456789abcdef\noperate fedcba9876543210\n"), 0o600))
	got, err := m.Tokens()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"0123456789abcdef": "read", "fedcba9876543210": "operate"}, got)
	require.NoError(t, os.WriteFile(file, []byte("king 0123456789abcdef\n"), 0o600))
	_, err = m.Tokens()
	require.ErrorContains(t, err, "line 1")
	require.NoError(t, os.WriteFile(file, []byte("operate 0123456789abcdef\nread 0123456789abcdef\n"), 0o600))
	_, err = m.Tokens()
	require.ErrorContains(t, err, "line 2: the token is there twice")
	require.NoError(t, os.Chmod(file, 0o644))
	_, err = m.Tokens()
	require.ErrorContains(t, err, "chmod 600")
}

// The documentation and the code list the same keys with the same defaults.
func TestDocumentedKeys(t *testing.T) {
	doc, err := os.ReadFile("../docs/configuration.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(doc), -1)
	var got, want [][2]string
	for _, r := range rows {
		got = append(got, [2]string{r[1], strings.Trim(r[2], "`")})
	}
	for _, o := range config.Options() {
		want = append(want, [2]string{o.Key, o.Default})
	}
	require.Equal(t, want, got)
}

// What the API needs is looked at before the member starts, and the key of its
// certificate is as private as every other.
func TestAPIFilesAreChecked(t *testing.T) {
	g := group()
	g.Members[0].API = "10.0.0.1:7700"
	dir := filepath.Join(t.TempDir(), "g")
	_, err := found.Create(dir, g, time.Now())
	require.NoError(t, err)
	m, err := config.Load(filepath.Join(dir, "a", found.ConfigFile), nil)
	require.NoError(t, err)
	refused := func(want string) {
		t.Helper()
		_, err := m.Standby(func() host.Daemon { return nothing{} }, nil, "v")
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, os.Chmod(m.APIKey, 0o640))
	refused("chmod 600")
	require.NoError(t, os.Chmod(m.APIKey, 0o600))
	require.NoError(t, os.WriteFile(m.APITokens, []byte("king 0123456789abcdef\n"), 0o600))
	refused("line 1")
	m.APIKey = filepath.Join(m.TLSDir, "member.key")
	refused("keys api_cert and api_key")
}

// Names and values in tables are taken as they are written.
func TestTablesAreTakenLiterally(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.yaml")
	require.NoError(t, os.WriteFile(path, []byte("group: g\nmember: a\ndaemon: kv\nlisten: h:1\npeers: {a: \"h:1\"}\n"+
		"capability_tags: [GPU]\ncapability_values: {CUDA: \"12\", zone.name: \"eu,west=1\"}\n"), 0o600))
	m, err := config.Load(path, nil)
	require.NoError(t, err)
	require.Equal(t, host.Capabilities{Tags: []string{"GPU"}, Values: map[string]string{"CUDA": "12", "zone.name": "eu,west=1"}}, m.Capabilities)
}
