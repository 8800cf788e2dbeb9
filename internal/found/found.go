// Package found makes a group: its founding record, and for every member a
// directory with keys, certificate, configuration and the mark that lets the
// first start seed the group. The directories are copied to the members'
// machines as they are.
//
// The private key of the group's certificate authority is not kept: nobody can
// issue a certificate for this group again, which is what a group whose
// members are fixed wants.
package found

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/standby"
)

// Member is a member to be.
type Member struct {
	Name string
	Peer string // host:port for the other members
	API  string // host:port for clients
}

// Group is a group to be.
type Group struct {
	Name     string
	Daemon   string
	Members  []Member
	Settings chain.Settings
}

// FoundingFile is the founding record's name in a member's directory, and in
// the group's directory for those who verify proofs.
const FoundingFile = "founding.bin"

// TokensFile holds the API's tokens, in a member's directory and in the
// group's, if its API is reachable from other machines.
const TokensFile = "api_tokens"

// remote says whether clients come from other machines.
func (m Member) remote() bool {
	host, _, err := net.SplitHostPort(m.API)
	ip := net.ParseIP(host)
	return err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// ConfigFile is the name of the configuration in a member's directory.
const ConfigFile = "member.yaml"

// Create makes the directory dir with one directory for each member. It
// refuses one that is there and not empty. On an error nothing is left behind.
func Create(dir string, g Group, now time.Time) (*chain.Founding, error) {
	if err := g.validate(); err != nil {
		return nil, err
	}
	if err := holds(dir, 0); err != nil {
		return nil, err
	}
	if err := durable.OS(dir).MkdirAll("."); err != nil {
		return nil, err
	}
	// Of two that found the directory empty, one can make this in it.
	claim := filepath.Join(dir, ".founding")
	if err := os.Mkdir(claim, 0o700); errors.Is(err, os.ErrExist) {
		return nil, notEmpty(dir)
	} else if err != nil {
		return nil, err
	}
	if err := holds(dir, 1); err != nil { // the other one was fast, and is done
		return nil, errors.Join(err, os.Remove(claim))
	}
	f, err := g.create(dir, now)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return f, os.Remove(claim)
}

func notEmpty(dir string) error {
	return fmt.Errorf("directory %s is not empty: choose another one, a group is founded once", dir)
}

// holds refuses a directory with more in it than so many things.
func holds(dir string, most int) error {
	names, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && len(names) > most {
		return notEmpty(dir)
	}
	return err
}

func (g *Group) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !chain.ValidName(g.Name) {
		bad("group name %q: use 1 to 64 of a-z, 0-9 and -", g.Name)
	}
	if n := len(g.Members); n < 1 || n > chain.MaxMembers {
		bad("%d members: a group has 1 to %d, three survive the loss of one", n, chain.MaxMembers)
	}
	names, addrs := make(map[string]bool), make(map[string]string)
	for _, m := range g.Members {
		if !chain.ValidName(m.Name) {
			bad("member name %q: use 1 to 64 of a-z, 0-9 and -", m.Name)
		}
		if names[m.Name] {
			bad("member %q is there twice: give each its own name", m.Name)
			continue
		}
		names[m.Name] = true
		for what, a := range map[string]string{"peer": m.Peer, "client": m.API} {
			if err := dialable(a); err != nil {
				bad("member %q: %s address %w", m.Name, what, err)
			} else if other, used := addrs[a]; used {
				bad("member %q: %s address %s is %s already: give each its own", m.Name, what, a, other)
			} else {
				addrs[a] = fmt.Sprintf("the %s address of %s", what, m.Name)
			}
		}
	}
	return errors.Join(errs...)
}

// dialable says why others could not reach an address. It is asked now because
// the group would have to be founded once more for another one.
func dialable(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: the port must be 1 to 65535", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%q: others cannot reach it: write the machine's name or address", addr)
	}
	return nil
}

func (g *Group) create(dir string, now time.Time) (*chain.Founding, error) {
	f := &chain.Founding{Suite: 1, Time: now.UnixNano(), Group: g.Name, Settings: g.Settings}
	if f.Settings == (chain.Settings{}) {
		f.Settings = chain.DefaultSettings()
	}
	if _, err := rand.Read(f.Nonce[:]); err != nil {
		return nil, err
	}
	keys := make(map[string]standby.Keys)
	for _, m := range g.Members {
		k, err := newKeys()
		if err != nil {
			return nil, err
		}
		keys[m.Name] = k
		f.Roster.Members = append(f.Roster.Members, chain.RosterMember{
			Name: m.Name, Flags: chain.Voter | chain.Cosigner,
			LogKey: k.Log.ID(), CosignKey: k.Cosign.ID(), BoxKey: k.Box.Public(),
		})
	}
	f.Roster.Sort()
	if err := f.Validate(); err != nil {
		return nil, err
	}
	ca, err := pki.NewCA(g.Name, now)
	if err != nil {
		return nil, err
	}
	tokens := newTokens()
	for _, m := range g.Members {
		if err := g.member(filepath.Join(dir, m.Name), m, f, keys[m.Name], ca, now); err != nil {
			return nil, fmt.Errorf("member %s: %w", m.Name, err)
		}
		if m.remote() {
			if err := durable.OS(filepath.Join(dir, m.Name)).WriteFile(TokensFile, tokens); err != nil {
				return nil, err
			}
		}
	}
	if slices.ContainsFunc(g.Members, Member.remote) {
		if err := durable.OS(dir).WriteFile(TokensFile, tokens); err != nil {
			return nil, err
		}
		if err := ca.WriteCertificate(durable.OS(dir)); err != nil {
			return nil, err
		}
	}
	return f, durable.WriteSealed(durable.OS(dir), FoundingFile, f.Marshal())
}

// newTokens makes a token for each role.
func newTokens() []byte {
	b := []byte("# role token: who shows the token may do what the role allows (docs/api.md).\n")
	for _, role := range []string{"operate", "deliver", "read", "audit"} {
		b = fmt.Appendf(b, "%s %s\n", role, rand.Text())
	}
	return b
}

func newKeys() (k standby.Keys, err error) {
	if k.Log, err = chain.NewKeypair(rand.Reader); err != nil {
		return k, err
	}
	if k.Cosign, err = chain.NewKeypair(rand.Reader); err != nil {
		return k, err
	}
	k.Box, err = chain.NewBoxKey(rand.Reader)
	return k, err
}

func (g *Group) member(dir string, m Member, f *chain.Founding, k standby.Keys, ca *pki.CA, now time.Time) error {
	fs := durable.OS(dir)
	if err := fs.MkdirAll("."); err != nil {
		return err
	}
	if err := config.SaveKeys(filepath.Join(dir, "keys"), k); err != nil {
		return err
	}
	tls := fs.Sub("tls")
	if err := ca.Issue(tls, g.Name, f.Origin(), m.Name, now); err != nil {
		return err
	}
	if m.remote() {
		host, _, err := net.SplitHostPort(m.API)
		if err != nil {
			return err
		}
		if err := ca.IssueServer(tls, host, now); err != nil {
			return err
		}
	}
	if err := durable.WriteSealed(fs, FoundingFile, f.Marshal()); err != nil {
		return err
	}
	if err := fs.WriteFile(ConfigFile, g.yaml(m)); err != nil {
		return err
	}
	return fs.WriteFile("bootstrap", []byte("The first start of this member may found the group; it removes this file.\n"))
}

// yaml is a member's configuration.
func (g *Group) yaml(m Member) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Member %s of group %s. Every key: docs/configuration.md. Paths are relative to this file.\n\n", m.Name, g.Name)
	// In quotes: a name may look like a number or a date.
	fmt.Fprintf(&b, "group: %q\nmember: %q\ndaemon: %q\n", g.Name, m.Name, g.Daemon)
	b.WriteString("\n# For the other members: mutual TLS, always.\n")
	fmt.Fprintf(&b, "listen: %q\npeers:\n", m.Peer)
	for _, p := range g.Members {
		fmt.Fprintf(&b, "  %q: %q\n", p.Name, p.Peer)
	}
	if m.remote() {
		fmt.Fprintf(&b, "\n# For clients: HTTPS with a certificate of tls/ca.pem, and a token of %s.\n", TokensFile)
		fmt.Fprintf(&b, "api_cert: tls/api.pem\napi_key: tls/api.key\napi_tokens: %s\n", TokensFile)
	} else {
		b.WriteString("\n# For clients: plain HTTP, because the address is this machine's own.\n")
	}
	fmt.Fprintf(&b, "api: %q\napis:\n", m.API)
	for _, p := range g.Members {
		fmt.Fprintf(&b, "  %q: %q\n", p.Name, p.API)
	}
	b.WriteString("\nprofile: lan\n")
	return []byte(b.String())
}
