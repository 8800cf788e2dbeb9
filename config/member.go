package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/standby"
)

// Member is a member's configuration, typed and checked. Paths are resolved.
type Member struct {
	Path                               string
	Group, Member, Daemon              string
	DataDir, Founding, KeysDir, TLSDir string
	Bootstrap                          string
	Listen, API                        string
	Peers, APIs                        map[string]string
	APICert, APIKey, APITokens         string
	Insecure                           bool
	Heartbeat, Election, Lease         time.Duration
	SyncInterval, SignInterval, Stall  time.Duration
	ClockSkew                          time.Duration
	VerifySync, RaftStore              string
	Hot, NeverActive, CrashDetection   bool
	Capabilities                       host.Capabilities
	OutputsAge                         time.Duration
	OutputsBytes, QueueBytes           int64
	QueueEvents                        int
	LogLevel                           slog.Level
	LogJSON                            bool

	used []Setting
}

func (r *reader) member() *Member {
	m := &Member{
		Path: r.path, Group: r.required("group"), Member: r.required("member"), Daemon: r.required("daemon"),
		DataDir: r.pathOf("data_dir"), Founding: r.pathOf("founding"), KeysDir: r.pathOf("keys_dir"),
		TLSDir: r.pathOf("tls_dir"), Bootstrap: r.pathOf("bootstrap"),
		Listen: r.address("listen"), Peers: r.table("peers", checkAddress), API: r.address("api"), APIs: r.table("apis", checkAddress),
		APICert: r.pathOf("api_cert"), APIKey: r.pathOf("api_key"), APITokens: r.pathOf("api_tokens"), Insecure: r.yes("insecure"),
	}
	beat := profile(r.text("profile", "lan", "lan-fast", "wan"))
	m.Heartbeat = cmp.Or(r.duration("heartbeat"), beat.Heartbeat)
	m.Election = cmp.Or(r.duration("election"), beat.Election)
	m.Lease = cmp.Or(r.duration("lease"), beat.Lease)
	m.SyncInterval, m.SignInterval, m.Stall = r.duration("sync_interval"), r.duration("sign_interval"), r.duration("stall_timeout")
	m.ClockSkew = r.duration("max_clock_skew")
	m.RaftStore = r.text("raft_store", "file", "boltdb")
	m.VerifySync = r.text("verify_sync", "turns", "all", "off")
	m.Hot = r.text("standby_mode", "warm", "hot") == "hot"
	m.NeverActive, m.CrashDetection = r.yes("never_active"), r.yes("crash_detection")
	m.Capabilities = host.Capabilities{Tags: r.names("capability_tags"), Values: r.table("capability_values", nil)}
	m.OutputsAge, m.OutputsBytes = r.duration("outputs_retention_age"), r.size("outputs_retention_bytes")
	m.QueueEvents, m.QueueBytes = r.number("queue_events", 1, 10_000_000), r.size("queue_bytes")
	if err := m.LogLevel.UnmarshalText([]byte(r.text("log_level", "debug", "info", "warn", "error"))); err != nil {
		m.LogLevel = slog.LevelInfo
	}
	m.LogJSON = r.text("log_format", "text", "json") == "json"
	r.relations(m)
	m.used = r.used
	return m
}

// relations checks what only several values together can be wrong about.
func (r *reader) relations(m *Member) {
	here := func(key string) Setting {
		i := slices.IndexFunc(r.used, func(s Setting) bool { return s.Key == key })
		return r.used[i]
	}
	if len(m.Peers) == 0 {
		r.bad(here("peers"), "it needs the address of every member")
	} else if m.Member != "" && m.Peers[m.Member] == "" {
		r.bad(here("peers"), "it has no address for this member, %q: add one", m.Member)
	}
	seen := make(map[string]string)
	for _, name := range sortedKeys(m.Peers) {
		if other := seen[m.Peers[name]]; other != "" {
			r.bad(here("peers"), "%s and %s have the same address %s: give each its own", other, name, m.Peers[name])
		}
		seen[m.Peers[name]] = name
	}
	if (m.APICert == "") != (m.APIKey == "") {
		r.bad(here("api_cert"), "api_cert and api_key belong together: set both or neither")
	}
	if m.API != "" && !m.Insecure && !loopback(m.API) {
		if m.APICert == "" {
			r.bad(here("api"), "%s is not loopback and the API would speak plain HTTP: set api_cert and api_key, or insecure: true", m.API)
		}
		if m.APITokens == "" {
			r.bad(here("api"), "%s is not loopback and anybody could use the API: set api_tokens, or insecure: true", m.API)
		}
	}
	if m.API != "" && m.API == m.Listen && !strings.HasSuffix(m.API, ":0") {
		r.bad(here("api"), "%s is the address of listen too: give each its own", m.API)
	}
	if m.Election < m.Heartbeat { // Raft does not start with it
		r.bad(here("election"), "%v is shorter than heartbeat, %v: use at least as much", m.Election, m.Heartbeat)
	}
	if m.Lease > m.Heartbeat {
		r.bad(here("lease"), "%v is longer than heartbeat, %v: use half of it", m.Lease, m.Heartbeat)
	}
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func loopback(addr string) bool {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(h)
	return h == "localhost" || ip != nil && ip.IsLoopback()
}

// Effective lists every key with its value and where that came from.
func (m *Member) Effective() []Setting { return slices.Clone(m.used) }

// LoadFounding reads a founding record file.
func LoadFounding(path string) (*chain.Founding, error) {
	data, err := durable.ReadSealed(durable.OS(filepath.Dir(path)), filepath.Base(path), 1<<20)
	if err != nil {
		return nil, fmt.Errorf("founding record %s: %w", path, err)
	}
	f, err := chain.ParseFounding(data)
	if err != nil {
		return nil, fmt.Errorf("founding record %s: %w", path, err)
	}
	return f, nil
}

// Standby makes the group handle's configuration: it loads the founding record
// and the member's keys. It also looks at what the API needs, so that a mistake
// there is found before the member takes part in anything.
func (m *Member) Standby(daemon func() host.Daemon, logger *slog.Logger, version string) (standby.Config, error) {
	f, err := LoadFounding(m.Founding)
	if err != nil {
		return standby.Config{}, err
	}
	if f.Group != m.Group {
		return standby.Config{}, fmt.Errorf("%s: key group is %q, the founding record %s is of group %q: use the record of this group", m.Path, m.Group, m.Founding, f.Group)
	}
	keys, err := LoadKeys(m.KeysDir)
	if err != nil {
		return standby.Config{}, err
	}
	if err := m.checkAPI(); err != nil {
		return standby.Config{}, err
	}
	return standby.Config{
		Founding: f, Member: m.Member, Keys: keys, Dir: m.DataDir, New: daemon, Listen: m.Listen, Peers: m.Peers,
		TLSDir: m.TLSDir, BootstrapMark: m.Bootstrap, Capabilities: m.Capabilities, NeverActive: m.NeverActive, Hot: m.Hot,
		NoCrashDetection: !m.CrashDetection,
		Logger:           logger, Version: version, Heartbeat: m.Heartbeat, Election: m.Election, Lease: m.Lease,
		SyncInterval: m.SyncInterval, SignInterval: m.SignInterval, StallTimeout: m.Stall, MaxClockSkew: m.ClockSkew, VerifySync: standby.VerifySync(m.VerifySync),
		Store:      standby.RaftStore(m.RaftStore),
		OutputsAge: m.OutputsAge, OutputsBytes: m.OutputsBytes, QueueEvents: m.QueueEvents, QueueBytes: int(m.QueueBytes),
	}, nil
}

func (m *Member) checkAPI() error {
	if m.APICert != "" {
		if err := checkPrivate(m.APIKey); err != nil {
			return err
		}
		if _, err := tls.LoadX509KeyPair(m.APICert, m.APIKey); err != nil {
			return fmt.Errorf("%s: keys api_cert and api_key: %s with %s: %w", m.Path, m.APICert, m.APIKey, err)
		}
	}
	_, err := m.Tokens()
	return err
}

// Logger makes the logger that the configuration asks for.
func (m *Member) Logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: m.LogLevel}
	if m.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Tokens reads the token file: lines of a role and a token, separated by space.
func (m *Member) Tokens() (map[string]string, error) {
	if m.APITokens == "" {
		return nil, nil
	}
	if err := checkPrivate(m.APITokens); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(m.APITokens)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for i, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 || !slices.Contains([]string{"read", "deliver", "operate", "audit"}, fields[0]) {
			return nil, fmt.Errorf("%s line %d: write a role (read, deliver, operate or audit), a space and a token", m.APITokens, i+1)
		}
		if len(fields[1]) < 16 {
			return nil, fmt.Errorf("%s line %d: the token is shorter than 16 characters: use a longer random one", m.APITokens, i+1)
		}
		if _, twice := out[fields[1]]; twice {
			return nil, fmt.Errorf("%s line %d: the token is there twice: give each role its own", m.APITokens, i+1)
		}
		out[fields[1]] = fields[0]
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no token: nobody could use the API", m.APITokens)
	}
	return out, nil
}
