package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/standby/client"
)

// options are the flags of every command.
type options struct {
	config, tokenFile, ca, output string
	addrs                         []string
	timeout                       time.Duration
}

func (o *options) flags(f *pflag.FlagSet) {
	f.StringVar(&o.config, "config", os.Getenv("UNDERSTUDY_CONFIG"), "a member's configuration file (UNDERSTUDY_CONFIG; default member.yaml, if there is one)")
	f.StringSliceVar(&o.addrs, "addr", nil, "API address of a member, host:port or URL, repeatable (UNDERSTUDY_ADDR; default: all in the configuration)")
	f.StringVar(&o.tokenFile, "token-file", "", "file that holds the API token, or lines of role and token (or the token in UNDERSTUDY_TOKEN)")
	f.StringVar(&o.ca, "ca", "", "certificate authority of the members' API certificates")
	f.StringVarP(&o.output, "output", "o", cmpOr(os.Getenv("UNDERSTUDY_OUTPUT"), "table"), "table or json (UNDERSTUDY_OUTPUT)")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to try")
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

func (o *options) json() (bool, error) {
	switch o.output {
	case "table":
		return false, nil
	case "json":
		return true, nil
	}
	return false, fmt.Errorf("output %.30q: use table or json", o.output)
}

// print writes a value as JSON, or has it written for people.
func (o *options) print(w io.Writer, v any, table func(io.Writer) error) error {
	asJSON, err := o.json()
	if err != nil {
		return err
	}
	if !asJSON {
		return table(w)
	}
	return writeJSON(w, v)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// deadline is the command's context with its time-out.
func (o *options) deadline(c *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(c.Context(), o.timeout, fmt.Errorf("no result within --timeout %v", o.timeout))
}

// member reads the configuration, if one is named or there.
func (o *options) member() (*config.Member, error) {
	path := o.config
	if path == "" {
		if _, err := os.Stat(found.ConfigFile); err != nil {
			return nil, nil
		}
		path = found.ConfigFile
	}
	return config.Load(path, nil)
}

// client makes a client of the group that the flags, the environment or the
// configuration name.
func (o *options) client(cfg client.Config) (*client.Client, error) {
	cfg, err := o.dial(cfg)
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

// reach makes a client that asks a member first which has just answered. A
// frozen one holds a connection and says nothing: questions would wait for it
// longer than --timeout, and an order that went there would end as unknown.
func (o *options) reach(ctx context.Context) (*client.Client, error) {
	cfg, err := o.dial(client.Config{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, min(2*time.Second, o.timeout/4))
	defer cancel()
	i := answering(ctx, cfg)
	cfg.Members[0], cfg.Members[i] = cfg.Members[i], cfg.Members[0]
	return client.New(cfg)
}

// follow makes a client for what goes on until it is interrupted. It begins
// with somebody who answers; later it waits, because members come back.
func (o *options) follow(c *cobra.Command) (*client.Client, error) {
	ctx, cancel := o.deadline(c)
	defer cancel()
	cl, err := o.reach(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := cl.Status(ctx); err != nil {
		return nil, errors.Join(remote(err), cl.Close(context.WithoutCancel(ctx)))
	}
	return cl, nil
}

// answering finds the first in the list of those that answer within a moment of
// the fastest; 0 if none does.
func answering(ctx context.Context, cfg client.Config) int {
	if len(cfg.Members) < 2 {
		return 0
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan int, len(cfg.Members))
	for i, addr := range cfg.Members {
		go func() {
			if _, err := statusOf(ctx, cfg, addr); err != nil {
				i = len(cfg.Members)
			}
			answers <- i
		}()
	}
	best := len(cfg.Members)
	var late <-chan time.Time
	for range cfg.Members {
		select {
		case i := <-answers:
			if best = min(best, i); best == 0 {
				return 0
			}
			if best < len(cfg.Members) && late == nil {
				late = time.After(100 * time.Millisecond)
			}
			continue
		case <-late:
		}
		break
	}
	return best % len(cfg.Members)
}

// dial completes a client's configuration: whom to ask and how.
func (o *options) dial(cfg client.Config) (client.Config, error) {
	if _, err := o.json(); err != nil {
		return cfg, err
	}
	addrs := o.addrs
	if len(addrs) == 0 && os.Getenv("UNDERSTUDY_ADDR") != "" {
		addrs = strings.Split(os.Getenv("UNDERSTUDY_ADDR"), ",")
	}
	ca, tokenFile, scheme := o.ca, o.tokenFile, "http"
	var m *config.Member
	if len(addrs) == 0 || o.config != "" {
		var err error
		if m, err = o.member(); err != nil {
			return cfg, err
		}
	}
	if len(addrs) == 0 {
		if m == nil {
			return cfg, fmt.Errorf("which group? Give --config FILE of a member, or --addr HOST:PORT of one")
		}
		addrs = apisOf(m)
	}
	switch {
	case m != nil && within(addrs, apisOf(m)):
		if m.APICert != "" {
			scheme, ca = "https", cmpOr(ca, filepath.Join(m.TLSDir, "ca.pem"))
		}
		if tokenFile == "" && os.Getenv("UNDERSTUDY_TOKEN") == "" {
			tokenFile = m.APITokens
		}
	case ca != "":
		scheme = "https"
	}
	for _, a := range addrs {
		if a = strings.TrimSpace(a); !strings.Contains(a, "://") {
			a = scheme + "://" + a
		}
		cfg.Members = append(cfg.Members, a)
	}
	var err error
	if cfg.Token, err = token(tokenFile); err != nil {
		return cfg, err
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return cfg, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return cfg, fmt.Errorf("%s holds no certificate", ca)
		}
		cfg.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	return cfg, nil
}

// apisOf lists where the configuration says that the members' APIs are.
func apisOf(m *config.Member) []string {
	if len(m.APIs) == 0 {
		return []string{m.API}
	}
	return slices.Sorted(maps.Values(m.APIs))
}

// within says whether all addresses are known ones. Others get neither token
// nor authority of the configuration, nor does plain HTTP that was asked for.
func within(addrs, known []string) bool {
	return !slices.ContainsFunc(addrs, func(a string) bool {
		return !slices.Contains(known, strings.TrimPrefix(strings.TrimSpace(a), "https://"))
	})
}

// token reads a token: the file's only word, or that of its strongest role.
func token(file string) (string, error) {
	if file == "" {
		return os.Getenv("UNDERSTUDY_TOKEN"), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if words := strings.Fields(string(b)); len(words) == 1 {
		return words[0], nil
	}
	byRole := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] != "#" {
			byRole[f[0]] = f[1]
		}
	}
	for _, role := range []string{"operate", "deliver", "read", "audit"} {
		if t := byRole[role]; t != "" {
			return t, nil
		}
	}
	return "", fmt.Errorf("%s holds no token: write one word, or lines of a role and a token", file)
}

// withClient calls f with a client and the time there is.
func (o *options) withClient(c *cobra.Command, f func(context.Context, *client.Client) error) error {
	ctx, cancel := o.deadline(c)
	defer cancel()
	cl, err := o.reach(ctx)
	if err != nil {
		return err
	}
	err = f(ctx, cl)
	return errors.Join(err, cl.Close(context.WithoutCancel(ctx)))
}
