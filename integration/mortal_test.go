package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
	"github.com/understudy-ha/understudy/standby/httpapi"
)

// mortalCommand makes this test's program a member whose daemon is mortal.
const mortalCommand = "mortal"

// Events that end the process: as a call of exit does, and as the kernel does
// when memory runs out.
const (
	exitEvent = "deadly exit"
	killEvent = "deadly kill"
)

var deadlyEvents = []string{exitEvent, killEvent}

// mortal is kv, but for the events that end its process.
type mortal struct{ *kv.Daemon }

func (d mortal) Process(ev chain.Event) ([][]byte, error) {
	switch string(ev.Payload) {
	case exitEvent:
		os.Exit(3)
	case killEvent:
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return d.Daemon.Process(ev)
}

// runMortal is the program of a service that embeds its daemon.
func runMortal(args []string) int {
	if err := serveMortal(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveMortal(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	flags := pflag.NewFlagSet(mortalCommand, pflag.ContinueOnError)
	path := flags.String("config", "", "the member's configuration")
	config.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	m, err := config.Load(*path, flags)
	if err != nil {
		return err
	}
	log := m.Logger(os.Stderr)
	cfg, err := m.Standby(func() host.Daemon { return mortal{kv.New()} }, log, "test")
	if err != nil {
		return err
	}
	g, err := standby.Open(cfg)
	if err != nil {
		return err
	}
	forward := httpapi.Config{Group: g, Forward: g.ForwardTo(), Logger: log}
	api, err := httpapi.New(forward)
	if err != nil {
		return err
	}
	g.ServePeers(httpapi.Peer(forward))
	server := &http.Server{Handler: api}
	l, err := net.Listen("tcp", m.API)
	if err != nil {
		return err
	}
	go server.Serve(l)
	select {
	case <-ctx.Done():
	case <-g.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	err = g.Close(end)
	server.Close()
	return err
}

// An event that ends the process takes two, however often its client sends it
// again, and is then recorded as refused. Everything else that is acknowledged
// is kept; the group serves on as its members are started again.
func TestDeadlyEvents(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	s := newStage(t, plan{daemon: "kv", events: 6000, before: func(s *stage) {
		for _, m := range s.members {
			m.Program, m.Args[0] = self, mortalCommand
		}
	}})
	var urls []string
	for _, m := range s.members {
		urls = append(urls, m.url)
	}
	var others []sent
	for round, delay := range []time.Duration{0, time.Second, 3 * time.Second} {
		for _, payload := range deadlyEvents {
			s.busy(500)
			name := fmt.Sprintf("deadly-%d-%.11s", round, payload)
			c, err := client.New(client.Config{Members: urls, Producer: name, StallTimeout: 2 * time.Second})
			require.NoError(t, err)
			p, err := c.Send(s.ctx, []byte(payload))
			require.NoError(t, err)
			type outcome struct {
				r   standby.Receipt
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				r, err := p.Wait(s.ctx)
				done <- outcome{r, err}
			}()
			died := s.nurse(delay, func() bool { return len(done) > 0 })
			got := <-done
			require.NoError(t, got.err)
			require.True(t, got.r.Refused, "%+v", got.r)
			require.Contains(t, got.r.Reason, "processes died in this event")
			require.Equal(t, 2, died, "processes lost to one event")
			others = append(others, sent{event(name, 1, payload), got.r})
			require.NoError(t, c.Close(s.ctx))
			s.healthy()
		}
	}
	s.finish(others...)
}

// nurse starts whoever ends again after a while, until there is no more need,
// and says how many ended.
func (s *stage) nurse(delay time.Duration, done func() bool) (died int) {
	s.t.Helper()
	down := make(map[*member]time.Time)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now().Add(patience); ; <-tick.C {
		for _, m := range s.members {
			since, known := down[m]
			switch {
			case m.Running():
			case !known:
				down[m] = time.Now()
				died++
			case time.Since(since) >= delay:
				s.start(m)
				delete(down, m)
			}
		}
		if done() && len(down) == 0 {
			return died
		}
		require.True(s.t, time.Now().Before(last), "the event has no outcome, %d processes died", died)
	}
}
