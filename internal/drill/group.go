package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// group is three member processes.
type group struct {
	members  []*member
	founding *chain.Founding
	client   *client.Client // for questions, apart from the load
	patience time.Duration
}

// member is one process and its directory.
type member struct {
	name, dir, url, program string
	client                  *client.Client // asks this member alone
	flags                   []string
	cmd                     *exec.Cmd
	exited                  chan struct{}
	log                     string
}

func newGroup(cfg *Config) (*group, error) {
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	f := found.Group{Name: "drill", Daemon: cfg.Daemon, Settings: chain.DefaultSettings()}
	for i, name := range []string{"a", "b", "c"} {
		f.Members = append(f.Members, found.Member{Name: name, Peer: ports[2*i], API: ports[2*i+1]})
	}
	dir := filepath.Join(cfg.Dir, "group")
	g := &group{patience: cfg.Patience}
	if g.founding, err = found.Create(dir, f, time.Now()); err != nil {
		return nil, err
	}
	for _, m := range f.Members {
		c, err := client.New(client.Config{Members: []string{"http://" + m.API}, StallTimeout: 2 * time.Second})
		if err != nil {
			return nil, err
		}
		g.members = append(g.members, &member{
			name: m.Name, dir: filepath.Join(dir, m.Name), url: "http://" + m.API, client: c,
			log: filepath.Join(cfg.Dir, m.Name+".log"), program: cfg.Program,
			flags: []string{"--profile", cfg.Profile, "--sync-interval", "2s"},
		})
	}
	g.client, err = client.New(client.Config{Members: g.urls(), StallTimeout: 2 * time.Second})
	return g, err
}

// freePorts finds addresses on loopback that nobody uses now.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

func (g *group) urls() []string {
	var urls []string
	for _, m := range g.members {
		urls = append(urls, m.url)
	}
	return urls
}

func (g *group) member(name string) (*member, error) {
	for _, m := range g.members {
		if m.name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no member is called %q", name)
}

// start runs the member's process. It dies with this one.
func (m *member) start() error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command(m.program, append([]string{"run", "--config", filepath.Join(m.dir, found.ConfigFile)}, m.flags...)...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	for _, kv := range os.Environ() { // the user's own settings are for the user's own group
		if !strings.HasPrefix(kv, "UNDERSTUDY_") {
			m.cmd.Env = append(m.cmd.Env, kv)
		}
	}
	m.cmd.SysProcAttr = detached()
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("member %s: %w", m.name, err)
	}
	cmd, exited := m.cmd, make(chan struct{})
	m.exited = exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	return nil
}

func (m *member) running() bool {
	select {
	case <-m.exited:
		return false
	default:
		return m.cmd != nil
	}
}

func (m *member) signal(s syscall.Signal) error { return m.cmd.Process.Signal(s) }

func (m *member) wait(ctx context.Context) error {
	select {
	case <-m.exited:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *group) killAll() {
	for _, m := range g.members {
		if m.cmd != nil && m.running() {
			m.signal(syscall.SIGKILL)
			<-m.exited
		}
		m.client.Close(context.Background())
	}
	g.client.Close(context.Background())
}

var errEnded = errors.New("has ended by itself")

// await asks until the answer is yes. The error says what the last answer was.
func (g *group) await(ctx context.Context, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, g.patience, fmt.Errorf("not within %v", g.patience))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var why error // the newest reason that is not the end of the wait itself
	for {
		try, stop := context.WithTimeout(ctx, 3*time.Second)
		err := ok(try)
		stop()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		if ctx.Err() == nil || why == nil {
			why = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), why)
		}
	}
}

// healthy waits until every member takes part and one is active.
func (g *group) healthy(ctx context.Context) error {
	return g.await(ctx, "waiting for three healthy members", func(ctx context.Context) error {
		actives := 0
		for _, m := range g.members {
			if !m.running() {
				return fmt.Errorf("member %s %w: see %s", m.name, errEnded, m.log)
			}
			st, err := m.client.Status(ctx)
			if err != nil {
				return fmt.Errorf("member %s: %w", m.name, err)
			}
			if st.Role != standby.RoleActive && st.Role != standby.RoleStandby || st.Active == "" || st.Reason != "" {
				return fmt.Errorf("member %s is %s %s, active %q", m.name, st.Role, st.Reason, st.Active)
			}
			if st.Role == standby.RoleActive {
				actives++
			}
		}
		if actives != 1 {
			return fmt.Errorf("%d members believe to be active", actives)
		}
		st, err := g.status(ctx)
		if err != nil {
			return err
		}
		for _, m := range st.Members {
			if m.State == "unreachable" || m.Role != standby.RoleActive && m.Role != standby.RoleStandby {
				return fmt.Errorf("%s says of %s: %s %s %s", st.Member, m.Name, m.Role, m.State, m.Reason)
			}
		}
		return nil
	})
}

// status is what the active says.
func (g *group) status(ctx context.Context) (standby.Status, error) {
	err := errors.New("no member is active")
	for _, m := range g.members {
		st, e := m.client.Status(ctx)
		if e != nil {
			err = e
		} else if st.Role == standby.RoleActive {
			return st, nil
		}
	}
	return standby.Status{}, err
}

// promoted waits for an active with a term above the given one.
func (g *group) promoted(ctx context.Context, term uint64, not *member) (*member, error) {
	var is *member
	err := g.await(ctx, "waiting for a promotion", func(ctx context.Context) error {
		for _, m := range g.members {
			if m == not || !m.running() {
				continue
			}
			st, err := m.client.Status(ctx)
			if err == nil && st.Role == standby.RoleActive && st.Term > term {
				is = m
				return nil
			}
		}
		return fmt.Errorf("no member but %s is active", not.name)
	})
	return is, err
}
