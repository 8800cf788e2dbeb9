package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
)

// FloorMember is one process of a floor: `understudy bench-floor`.
type FloorMember struct {
	Kind  string
	Store string            // what keeps the log, of those of the product
	Dir   string            // a member's directory as found.Create makes it
	Name  string            // the member's
	Peers map[string]string // addresses for the other members
	Load  string            // address for the load
}

// Run serves until the context ends.
func (m *FloorMember) Run(ctx context.Context) error {
	p := &place{dir: filepath.Dir(filepath.Dir(m.Dir)), peers: m.Peers}
	var err error
	if p.founding, err = config.LoadFounding(filepath.Join(m.Dir, found.FoundingFile)); err != nil {
		return err
	}
	cfg, err := p.config(m.Name)
	if err != nil {
		return err
	}
	cfg.Store = standby.RaftStore(m.Store)
	l, err := net.Listen("tcp", m.Load)
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := openFloor(m.Kind, &cfg)
	if err != nil {
		return err
	}
	go serveFloor(l, f)
	<-ctx.Done()
	return f.close()
}

// floorProcesses is a floor of real processes.
type floorProcesses struct {
	place   *place
	members []*floorProcess
	leader  string // its address for the load
	conns   []*floorConn
}

type floorProcess struct {
	local.Process
	name string
	ask  *floorConn
}

func openFloorProcesses(ctx context.Context, cfg *Config, kind string, c *Case) (system, error) {
	p, err := newPlace(cfg.Dir, c.Members)
	if err != nil {
		return nil, err
	}
	s := &floorProcesses{place: p}
	var peers []string
	for _, name := range slices.Sorted(maps.Keys(p.peers)) {
		peers = append(peers, name+"="+p.peers[name])
	}
	for _, name := range p.names {
		m := &floorProcess{name: name, Process: local.Process{Program: cfg.Program, Log: p.log(name), Args: []string{
			"bench-floor", "--kind", kind, "--store", string(c.Store), "--dir", p.member(name), "--member", name, "--peers", strings.Join(peers, ","), "--load", p.apis[name],
		}}}
		s.members = append(s.members, m)
		if err := m.Start(); err != nil {
			os.RemoveAll(s.close())
			return nil, err
		}
	}
	err = await(ctx, "a leader of the floor", func(ctx context.Context) error {
		s.leader = ""
		for _, m := range s.members {
			if !m.Running() {
				return fmt.Errorf("member %s %w: see %s", m.name, errEnded, m.Log)
			}
			leads, err := m.status(ctx, p.apis[m.name])
			if err != nil {
				return err
			}
			if leads {
				s.leader = p.apis[m.name]
			}
		}
		if s.leader == "" {
			return errors.New("nobody leads")
		}
		return nil
	})
	if err != nil {
		return nil, kept(ctx, err, s.close())
	}
	return s, nil
}

func (m *floorProcess) status(ctx context.Context, addr string) (leads bool, err error) {
	if m.ask == nil {
		if m.ask, err = dialFloor(ctx, addr); err != nil {
			m.ask = nil
			return false, err
		}
	}
	leads, _, err = m.ask.ask(ctx)
	return leads, err
}

func (s *floorProcesses) caller(int) (caller, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := dialFloor(ctx, s.leader)
	if err == nil {
		s.conns = append(s.conns, c)
	}
	return c, err
}

func (s *floorProcesses) usage(ctx context.Context) (sum usage, err error) {
	for _, m := range s.members {
		u, err := usageOf(m.Pid())
		if err != nil {
			return sum, fmt.Errorf("floor member %s: %w", m.name, err)
		}
		_, counted, err := m.ask.ask(ctx)
		if err != nil {
			return sum, fmt.Errorf("floor member %s: %w", m.name, err)
		}
		sum = sum.plus(u).plus(counted)
	}
	return sum, nil
}

func (s *floorProcesses) close() string {
	for _, c := range s.conns {
		c.c.Close()
	}
	for _, m := range s.members {
		if m.ask != nil {
			m.ask.c.Close()
		}
		m.Stop(10 * time.Second)
	}
	return s.place.leave()
}

// floorEmbedded is a floor whose members are all in this process.
type floorEmbedded struct {
	place   *place
	members []*floor
	leader  *floor
}

func openFloorEmbedded(ctx context.Context, base, kind string, c *Case) (system, error) {
	p, err := newPlace(base, c.Members)
	if err != nil {
		return nil, err
	}
	s := &floorEmbedded{place: p}
	for _, name := range p.names {
		cfg, err := p.config(name)
		cfg.Store = c.Store
		if err == nil {
			var f *floor
			if f, err = openFloor(kind, &cfg); err == nil {
				s.members = append(s.members, f)
			}
		}
		if err != nil {
			os.RemoveAll(s.close())
			return nil, fmt.Errorf("floor member %s: %w", name, err)
		}
	}
	err = await(ctx, "a leader of the floor", func(context.Context) error {
		i := slices.IndexFunc(s.members, (*floor).leads)
		if i < 0 {
			return errors.New("nobody leads")
		}
		s.leader = s.members[i]
		return nil
	})
	if err != nil {
		os.RemoveAll(s.close())
		return nil, err
	}
	return s, nil
}

func (s *floorEmbedded) caller(int) (caller, error) { return s.leader, nil }

func (s *floorEmbedded) usage(context.Context) (usage, error) {
	u, err := usageOf(os.Getpid())
	for _, f := range s.members {
		c := f.counted()
		u.written, u.sent, u.syncs = u.written+c.written, u.sent+c.sent, u.syncs+c.syncs
	}
	return u, err
}

func (s *floorEmbedded) close() string {
	for _, f := range s.members {
		f.close()
	}
	return s.place.leave()
}
