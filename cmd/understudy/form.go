package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/daemons"
	"github.com/understudy-ha/understudy/internal/faultseam"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi"
)

func initCommand(o *options) *cobra.Command {
	var group, daemon, dir string
	var members, apis []string
	c := &cobra.Command{
		Use: "init", Short: "make a group's founding record and a directory for each member",
		Long:    "Init writes one directory per member with its keys, certificate and\nconfiguration. Copy each to its machine, and keep founding.bin: with it proofs\nare verified. Members that clients reach over the network get a certificate and\ntokens; on loopback the API is plain HTTP.",
		Example: "  understudy init --group books --daemon ledger --dir books \\\n      --members a=10.0.0.1:7400,b=10.0.0.2:7400,c=10.0.0.3:7400",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := daemons.New(daemon); err != nil {
				return err
			}
			g := found.Group{Name: group, Daemon: daemon, Settings: chain.DefaultSettings()}
			api, err := pairs("api", apis)
			if err != nil {
				return err
			}
			list, err := pairs("members", members)
			if err != nil {
				return err
			}
			named := make(map[string]string)
			for _, a := range api {
				if !slices.ContainsFunc(list, func(m pair) bool { return m.name == a.name }) {
					return fmt.Errorf("--api: %.60q is no member: the members are %s", a.name, namesOf(list))
				}
				if named[a.name] != "" {
					return fmt.Errorf("--api: %s is there twice: keep one", a.name)
				}
				named[a.name] = a.addr
			}
			for _, m := range list {
				addr := named[m.name]
				if addr == "" {
					host, _, err := net.SplitHostPort(m.addr)
					if err != nil {
						return fmt.Errorf("--members: %s=%s is not name=host:port: %w", m.name, m.addr, err)
					}
					addr = net.JoinHostPort(host, "7700")
					if slices.ContainsFunc(g.Members, func(o found.Member) bool { return o.API == addr && o.Name != m.name }) {
						return fmt.Errorf("--api: clients would reach %s and another member at %s: give each member its own with --api %s=HOST:PORT", m.name, addr, m.name)
					}
				}
				g.Members = append(g.Members, found.Member{Name: m.name, Peer: m.addr, API: addr})
			}
			if dir == "" {
				dir = group
			}
			f, err := found.Create(dir, g, time.Now())
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), map[string]any{"group": group, "origin": f.Origin(), "dir": dir}, func(w io.Writer) error {
				fmt.Fprintf(w, "group %s, origin %s, in %s\n\nOn each member's machine:\n", group, f.Origin(), dir)
				for _, m := range g.Members {
					fmt.Fprintf(w, "  understudy run --config %s\n", filepath.Join(dir, m.Name, found.ConfigFile))
				}
				fmt.Fprintf(w, "Then:\n  understudy status --config %s\n", filepath.Join(dir, g.Members[0].Name, found.ConfigFile))
				_, err := fmt.Fprintf(w, "Keep %s: whoever verifies this group's proofs needs it.\n", filepath.Join(dir, found.FoundingFile))
				return err
			})
		},
	}
	f := c.Flags()
	f.StringVar(&group, "group", "", "name of the group")
	f.StringVar(&daemon, "daemon", "ledger", "built-in daemon: "+strings.Join(daemons.Names(), ", "))
	f.StringVar(&dir, "dir", "", "directory to make (default: the group's name)")
	f.StringSliceVar(&members, "members", nil, "name=host:port for the other members, comma-separated")
	f.StringSliceVar(&apis, "api", nil, "name=host:port for clients, comma-separated (default: the member's host, port 7700)")
	c.MarkFlagRequired("group")
	c.MarkFlagRequired("members")
	return c
}

type pair struct{ name, addr string }

func pairs(flag string, list []string) ([]pair, error) {
	var out []pair
	for _, s := range list {
		name, addr, ok := strings.Cut(s, "=")
		if !ok || name == "" || addr == "" {
			return nil, fmt.Errorf("--%s: %.60q is not name=host:port", flag, s)
		}
		out = append(out, pair{name, addr})
	}
	return out, nil
}

func namesOf(list []pair) string {
	var names []string
	for _, p := range list {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

func runCommand(o *options) *cobra.Command {
	var faults bool
	c := &cobra.Command{
		Use: "run", Short: "run a member until it is told to stop",
		Long: "Run serves one member of a group. SIGTERM or an interrupt hands the active role\nover, if this member has it, and stops. Every key of the configuration is also a\nflag and an environment variable.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := config.Load(cmpOr(o.config, found.ConfigFile), c.Flags())
			if err != nil {
				return err
			}
			fresh, err := daemons.New(m.Daemon)
			if err != nil {
				return fmt.Errorf("%s: key daemon: %w", m.Path, err)
			}
			log := m.Logger(c.ErrOrStderr())
			cfg, err := m.Standby(fresh, log, version())
			if err != nil {
				return err
			}
			if faults {
				if cfg.Faults, err = faultseam.Open(filepath.Dir(m.DataDir), cfg.Founding, c.InOrStdin()); err != nil {
					return err
				}
			}
			return serve(c.Context(), m, cfg, log)
		},
	}
	config.Flags(c.Flags())
	c.Flags().BoolVar(&faults, "drill-faults", false, "take faults from standard input; only a drill's own members may")
	c.Flags().MarkHidden("drill-faults")
	return c
}

// stopTime is how long a member may take to hand over and close its files.
const stopTime = 15 * time.Second

// serve runs a member and its API until ctx ends or the member fails.
func serve(ctx context.Context, m *config.Member, cfg standby.Config, log *slog.Logger) error {
	g, err := standby.Open(cfg)
	if err != nil {
		return err
	}
	err = serveAPI(ctx, m, g, log)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err = errors.Join(err, g.Close(stop))
	log.Info("stopped", "err", err)
	return err
}

func serveAPI(ctx context.Context, m *config.Member, g *standby.Group, log *slog.Logger) error {
	server, err := newServer(m, g, log)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", m.API)
	if err != nil {
		return fmt.Errorf("%s: key api: %w", m.Path, err)
	}
	d := &door{Listener: l, max: callers(), log: log}
	server.ConnState = d.state
	failed := make(chan error, 1)
	go func() {
		if m.APICert != "" {
			failed <- server.ServeTLS(d, m.APICert, m.APIKey)
		} else {
			failed <- server.Serve(d)
		}
	}()
	log.Info("serving", "group", m.Group, "member", m.Member, "api", l.Addr().String(), "peers", m.Listen, "version", version())
	select {
	case err = <-failed:
		return fmt.Errorf("the API at %s: %w", m.API, err)
	case <-g.Done():
		err = g.Err()
	case <-ctx.Done():
		// Calls go on while the role is handed over: those that can be answered are.
		log.Info("stopping")
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		err = g.Close(stop)
		cancel()
	}
	server.Close()
	<-failed
	return err
}

func newServer(m *config.Member, g *standby.Group, log *slog.Logger) (*http.Server, error) {
	tokens, err := m.Tokens()
	if err != nil {
		return nil, err
	}
	cfg := httpapi.Config{Group: g, Forward: g.ForwardTo(), Insecure: m.Insecure, Logger: log, Tokens: make(map[string]httpapi.Role)}
	for token, name := range tokens {
		if cfg.Tokens[token], err = httpapi.ParseRole(name); err != nil {
			return nil, err
		}
	}
	h, err := httpapi.New(cfg)
	if err != nil {
		return nil, err
	}
	g.ServePeers(httpapi.Peer(cfg))
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}, nil
}
