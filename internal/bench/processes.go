package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// processes is a group of member processes, or one that was there already.
type processes struct {
	path    Path
	place   *place // nil: somebody else's group
	members []*member
	cfg     client.Config // for callers; names all members
	clients []*client.Client
	active  string // its API's base URL
	http    *http.Client
}

// member is one of them: what it says of itself, and its process if it is ours.
type member struct {
	local.Process
	name string
	ask  *client.Client
}

func openProcesses(ctx context.Context, cfg *Config, c *Case) (system, error) {
	p, err := newPlace(cfg.Dir, c.Members)
	if err != nil {
		return nil, err
	}
	s := &processes{path: c.Path, place: p, clients: make([]*client.Client, min(c.Concurrency, maxClients))}
	for _, name := range p.names {
		s.cfg.Members = append(s.cfg.Members, "http://"+p.apis[name])
		args := []string{"run"}
		if cfg.Profile != "" {
			args = []string{"bench-member", "--cpu-profile", cfg.profile(c, name)}
		}
		s.members = append(s.members, &member{name: name, Process: local.Process{
			Program: cfg.Program, Log: p.log(name), Args: append(args, "--config", filepath.Join(p.member(name), found.ConfigFile), "--raft-store", string(c.Store)),
		}})
	}
	if err := s.start(ctx); err != nil {
		return nil, kept(ctx, err, s.close())
	}
	return s, nil
}

// join uses a group that is there.
func join(ctx context.Context, cfg client.Config, c *Case) (system, error) {
	s := &processes{path: c.Path, cfg: cfg, clients: make([]*client.Client, min(c.Concurrency, maxClients))}
	for _, url := range cfg.Members {
		s.members = append(s.members, &member{name: url})
	}
	if err := s.meet(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *processes) start(ctx context.Context) error {
	for _, m := range s.members {
		if err := m.Start(); err != nil {
			return fmt.Errorf("member %s: %w", m.name, err)
		}
	}
	return s.meet(ctx)
}

// meet waits for an active that all others follow.
func (s *processes) meet(ctx context.Context) error {
	for i, m := range s.members {
		one := s.cfg
		one.Members = s.cfg.Members[i : i+1]
		var err error
		if m.ask, err = client.New(one); err != nil {
			return err
		}
	}
	s.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: MaxConcurrency, TLSClientConfig: s.cfg.TLS, DisableCompression: true}}
	return await(ctx, "an active member that all others follow", func(ctx context.Context) error {
		s.active = ""
		for i, m := range s.members {
			if s.place != nil && !m.Running() {
				return fmt.Errorf("member %s %w: see %s", m.name, errEnded, m.Log)
			}
			st, err := m.ask.Status(ctx)
			switch {
			case err != nil:
				return fmt.Errorf("member %s: %w", m.name, err)
			case st.Role == standby.RoleActive:
				s.active = s.cfg.Members[i]
			case st.Role != standby.RoleStandby || st.Active == "":
				return fmt.Errorf("member %s is %s %s", m.name, st.Role, st.Reason)
			}
		}
		if s.active == "" {
			return errors.New("nobody is active")
		}
		return nil
	})
}

// maxClients bounds the clients that callers share: each is a producer with a
// stream of its own.
const maxClients = 16

func (s *processes) caller(n int) (caller, error) {
	if s.path == HTTP {
		return &httpCaller{s: s, producer: s.producer(n)}, nil
	}
	c := &s.clients[n%len(s.clients)]
	if *c == nil {
		cfg := s.cfg
		cfg.Producer, cfg.MaxInFlight = s.producer(n), wire.MaxBatch
		var err error
		if *c, err = client.New(cfg); err != nil {
			return nil, err
		}
	}
	return &clientCaller{c: *c}, nil
}

// producer is a new name in a group that may know those of an earlier run.
func (s *processes) producer(n int) string {
	if s.place == nil {
		return fmt.Sprintf("%s-%x", producer(n), time.Now().UnixNano())
	}
	return producer(n)
}

func (s *processes) usage(ctx context.Context) (sum usage, err error) {
	for _, m := range s.members {
		var u usage
		if m.Running() {
			if u, err = usageOf(m.Pid()); err != nil {
				return sum, fmt.Errorf("member %s: %w", m.name, err)
			}
		}
		st, err := m.ask.Status(ctx)
		if err != nil {
			return sum, fmt.Errorf("member %s: %w", m.name, err)
		}
		u.written, u.sent, u.syncs = st.IO.WrittenBytes, st.IO.SentBytes, st.IO.Syncs
		sum = sum.plus(u)
	}
	return sum, nil
}

func (s *processes) close() string {
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, c := range s.clients {
		if c != nil {
			c.Close(ctx)
		}
	}
	for _, m := range s.members {
		if m.ask != nil {
			m.ask.Close(context.Background())
		}
		m.Stop(20 * time.Second)
	}
	if s.place == nil {
		return ""
	}
	return s.place.leave()
}
