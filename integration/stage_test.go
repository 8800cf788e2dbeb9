package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// stage is a group of three processes under a load. It shares nothing with the
// drill but the product: what one of them overlooks the other may see.
type stage struct {
	t        *testing.T
	ctx      context.Context
	rng      *rand.Rand
	dir      string
	daemon   string
	members  []*member
	founding *chain.Founding
	client   *client.Client // asks the group
	load     *load
}

// plan is what a stage is made of.
type plan struct {
	daemon string
	events int           // of the load, made up for the daemon
	input  [][]byte      // or these
	before func(*stage)  // changes the members before they start
	hosts  []string      // of the members, if not this one
	flags  []string      // of every member
	seed   uint64        // of what is random, 0: any
	lasts  time.Duration // at most, 5 min if it is not said
}

// newStage starts a group. Its load waits to be allowed.
func newStage(t *testing.T, p plan) *stage {
	t.Helper()
	seed := cmp.Or(p.seed, uint64(time.Now().UnixNano()))
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(p.lasts, 5*time.Minute))
	s := &stage{t: t, ctx: ctx, dir: t.TempDir(), daemon: p.daemon, rng: rand.New(rand.NewPCG(seed, 0))}
	s.found(&p)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
			for _, m := range s.members {
				log := m.log()
				t.Logf("log of %s:\n%s", m.name, log[max(0, len(log)-4000):])
			}
			s.dump()
		}
		if s.load != nil {
			s.load.stop()
		}
		for _, m := range s.members {
			m.Kill()
			m.client.Close(ctx)
			s.calm(m.name, m.log())
		}
		s.client.Close(ctx)
		cancel()
	})
	if p.before != nil {
		p.before(s)
	}
	s.start(s.members...)
	s.healthy()
	s.load = newLoad(s, &p)
	return s
}

// groupDir holds the members' directories.
func (s *stage) groupDir() string { return filepath.Join(s.dir, "group") }

// found makes the group's directories.
func (s *stage) found(p *plan) {
	s.t.Helper()
	ports, err := local.ReservePorts(6)
	require.NoError(s.t, err)
	s.t.Cleanup(ports.Release)
	addrs := ports.Addrs
	for i, host := range p.hosts {
		addrs[2*i], addrs[2*i+1] = host+":7701", host+":7700"
	}
	g := found.Group{Name: "stage", Daemon: s.daemon, Settings: chain.DefaultSettings()}
	for i, name := range []string{"a", "b", "c"} {
		g.Members = append(g.Members, found.Member{Name: name, Peer: addrs[2*i], API: addrs[2*i+1]})
	}
	dir := s.groupDir()
	s.founding, err = found.Create(dir, g, time.Now())
	require.NoError(s.t, err)
	var urls []string
	for _, m := range g.Members {
		url := "http://" + m.API
		c, err := client.New(client.Config{Members: []string{url}, StallTimeout: 2 * time.Second})
		require.NoError(s.t, err)
		s.members = append(s.members, &member{
			name: m.Name, dir: filepath.Join(dir, m.Name), url: url, peer: m.Peer, client: c,
			Process: local.Process{
				Program: program, Log: filepath.Join(s.dir, m.Name+".log"),
				Args: append([]string{"run", "--config", filepath.Join(dir, m.Name, found.ConfigFile), "--profile", "lan-fast", "--sync-interval", "2s"}, p.flags...),
			},
		})
		urls = append(urls, url)
	}
	s.client, err = client.New(client.Config{Members: urls, StallTimeout: 2 * time.Second})
	require.NoError(s.t, err)
}

// dump keeps the logs, with where each goroutine is, if that was asked for.
func (s *stage) dump() {
	if *keep == "" {
		return
	}
	own := make([]byte, 4<<20)
	os.WriteFile(filepath.Join(*keep, "test.log"), own[:runtime.Stack(own, true)], 0o600)
	for _, m := range s.members {
		if m.Running() {
			m.Signal(syscall.SIGCONT)
			m.Signal(syscall.SIGQUIT)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			m.Wait(ctx)
			cancel()
		}
		name := strings.ReplaceAll(s.t.Name(), "/", "-") + "-" + m.name + ".log"
		os.WriteFile(filepath.Join(*keep, name), []byte(m.log()), 0o600)
	}
}

// lend has a subtest judge what the stage does, until it gives it back.
func (s *stage) lend(t *testing.T) (back func()) {
	owner := s.t
	s.t = t
	return func() { s.t = owner }
}

// await asks until the answer is yes.
func (s *stage) await(what string, ok func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for last := errors.New("it was not asked"); ; {
		try, stop := context.WithTimeout(ctx, 5*time.Second)
		err := ok(try)
		stop()
		if err == nil {
			return
		}
		if ctx.Err() == nil { // else it was cut short, which says nothing
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.FailNow(s.t, fmt.Sprintf("%s: not within %v: %v", what, patience, last))
		}
	}
}

// healthy waits until every member takes part and all agree on the active.
func (s *stage) healthy() {
	s.t.Helper()
	s.await("waiting for three healthy members", s.well)
}

// well says what is wrong with any member.
func (s *stage) well(ctx context.Context) error {
	active := ""
	for _, m := range s.members {
		if !m.Running() {
			return fmt.Errorf("member %s has ended", m.name)
		}
		st, err := m.client.Status(ctx)
		if err != nil {
			return fmt.Errorf("member %s: %w", m.name, err)
		}
		if active == "" {
			active = st.Active
		}
		if st.Active == "" || st.Active != active || st.Reason != "" || st.Role != standby.RoleStandby && st.Role != standby.RoleActive {
			return fmt.Errorf("member %s is %s %s, its active is %q, another's %q", m.name, st.Role, st.Reason, st.Active, active)
		}
		for _, row := range st.Members {
			if row.State == "unreachable" || row.Role != standby.RoleActive && row.Role != standby.RoleStandby {
				return fmt.Errorf("%s says of %s: %s %s %s", m.name, row.Name, row.Role, row.State, row.Reason)
			}
		}
	}
	return nil
}

// find gives the member that says to be active, in a term above the given one.
func (s *stage) find(ctx context.Context, term uint64) (*member, standby.Status, error) {
	why := errors.New("no member runs")
	for _, m := range s.members {
		if !m.Running() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second) // it may be stopped
		st, err := m.client.Status(ctx)
		cancel()
		if err == nil && st.Role == standby.RoleActive && st.Term > term {
			return m, st, nil
		}
		why = fmt.Errorf("%s is %s in term %d, %w", m.name, st.Role, st.Term, err)
	}
	return nil, standby.Status{}, why
}

// after waits for an active in a term above the given one.
func (s *stage) after(term uint64) (m *member, st standby.Status) {
	s.t.Helper()
	s.await(fmt.Sprintf("waiting for an active after term %d", term), func(ctx context.Context) (err error) {
		m, st, err = s.find(ctx, term)
		return err
	})
	return m, st
}

func (s *stage) active() (*member, standby.Status) {
	s.t.Helper()
	return s.after(0)
}

// standby is a member that is not active.
func (s *stage) standby() *member {
	s.t.Helper()
	active, _ := s.active()
	all := slices.DeleteFunc(slices.Clone(s.members), func(m *member) bool { return m == active })
	return all[s.rng.IntN(len(all))]
}
