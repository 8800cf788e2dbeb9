package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/faultproxy"
	"github.com/understudy-ha/understudy/internal/faultseam"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// group is the member processes.
type group struct {
	ports    *local.Ports
	members  []*member
	mesh     *faultproxy.Mesh // between them, if the fault needs it
	founding *chain.Founding
	client   *client.Client // for questions, apart from the load
	patience time.Duration
}

// stallTimeout is when an active without progress is to give way.
const stallTimeout = 2 * time.Second

func newGroup(cfg *Config, k *Kind) (g *group, err error) {
	ports, err := local.ReservePorts(2 * cfg.Members)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ports.Release()
		}
	}()
	f := found.Group{Name: "drill", Daemon: cfg.Daemon, Settings: chain.DefaultSettings()}
	addrs := make(map[string]string)
	for i := range cfg.Members {
		m := found.Member{Name: string(rune('a' + i)), Peer: ports.Addrs[2*i], API: ports.Addrs[2*i+1]}
		f.Members = append(f.Members, m)
		addrs[m.Name] = m.Peer
	}
	dir := filepath.Join(cfg.Dir, "group")
	g = &group{ports: ports, patience: cfg.Patience}
	if g.founding, err = found.Create(dir, f, time.Now()); err != nil {
		return nil, err
	}
	if err := faultseam.Mark(dir, g.founding.Origin()); err != nil {
		return nil, err
	}
	if k.means == proxies {
		if g.mesh, err = faultproxy.NewMesh(addrs); err != nil {
			return nil, err
		}
	}
	for _, m := range f.Members {
		c, err := client.New(client.Config{Members: []string{"http://" + m.API}, StallTimeout: 2 * time.Second})
		if err != nil {
			return nil, err
		}
		flags := []string{"--profile", cfg.Profile, "--sync-interval", "2s", "--stall-timeout", stallTimeout.String()}
		if g.mesh != nil {
			flags = append(flags, "--peers", pairs(g.mesh.Peers(m.Name)))
		}
		if k.means == seam {
			flags = append(flags, "--drill-faults")
		}
		g.members = append(g.members, &member{
			name: m.Name, dir: filepath.Join(dir, m.Name), url: "http://" + m.API, client: c,
			Process: local.Process{
				Program: cfg.Program, Args: append([]string{"run", "--config", filepath.Join(dir, m.Name, found.ConfigFile)}, flags...),
				Log: filepath.Join(cfg.Dir, m.Name+".log"), Piped: k.means == seam,
			},
		})
	}
	g.client, err = client.New(client.Config{Members: g.urls(), StallTimeout: 2 * time.Second})
	return g, err
}

// member is one process and its directory.
type member struct {
	local.Process
	name, dir, url string
	client         *client.Client // asks this member alone
}

// pairs writes a table as a flag takes it.
func pairs(m map[string]string) string {
	var out []string
	for name, addr := range m {
		out = append(out, name+"="+addr)
	}
	return strings.Join(out, ",")
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

func (g *group) killAll() {
	for _, m := range g.members {
		m.Kill()
		m.client.Close(context.Background())
	}
	if g.mesh != nil {
		g.mesh.Close()
	}
	g.client.Close(context.Background())
	g.ports.Release()
}

var errEnded = errors.New("has ended by itself")

// await asks until the answer is yes.
func (g *group) await(ctx context.Context, what string, ok func(context.Context) error) error {
	return await(ctx, g.patience, what, ok)
}

// await asks until the answer is yes. The error says what the last answer was.
func await(ctx context.Context, patience time.Duration, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %v", patience))
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

// sync has every standby hold a checkpoint of now.
func (g *group) sync(ctx context.Context, what string) error {
	return g.await(ctx, what, func(ctx context.Context) error {
		_, err := g.client.Sync(ctx)
		return err
	})
}

// healthy waits until every member takes part and one is active.
func (g *group) healthy(ctx context.Context) error {
	return g.await(ctx, "waiting for all members to be well", g.well)
}

// mend ends every fault that a script may have left.
func (g *group) mend() {
	if g.mesh != nil {
		g.mesh.All(faultproxy.Rule{})
	}
	for _, m := range g.members {
		if m.Running() {
			m.Signal(syscall.SIGCONT)
			if m.Piped {
				m.Say(faultseam.Heal)
			}
		}
	}
}

// revive waits as healthy does, and starts members that end meanwhile.
func (g *group) revive(ctx context.Context) error {
	return g.await(ctx, "waiting for all members to be well again", func(ctx context.Context) error {
		for _, m := range g.members {
			if !m.Running() {
				if err := m.Start(); err != nil {
					return err
				}
			}
		}
		if err := g.well(ctx); err != nil {
			return errors.New(err.Error()) // a member that has just ended is started at the next try
		}
		return nil
	})
}

func (g *group) well(ctx context.Context) error {
	actives := 0
	for _, m := range g.members {
		if !m.Running() {
			return fmt.Errorf("member %s %w: see %s", m.name, errEnded, m.Log)
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

// promoted waits for an active with a term above the given one: another one than
// not, or that one again after another one was.
func (g *group) promoted(ctx context.Context, term uint64, not *member) (*member, error) {
	var is *member
	err := g.await(ctx, "waiting for a promotion", func(ctx context.Context) error {
		leads := func(ctx context.Context, m *member, above uint64) bool {
			st, err := m.client.Status(ctx)
			return err == nil && st.Role == standby.RoleActive && st.Term > above
		}
		for _, m := range g.members {
			if m != not && m.Running() && leads(ctx, m, term) {
				is = m
				return nil
			}
		}
		if not != nil && not.Running() { // the last, and not for long: it may be frozen
			soon, stop := context.WithTimeout(ctx, 100*time.Millisecond)
			defer stop()
			if leads(soon, not, term+1) {
				is = not
				return nil
			}
		}
		if not == nil {
			return errors.New("no member is active")
		}
		return fmt.Errorf("no member but %s is active", not.name)
	})
	return is, err
}
