package bench

import (
	"context"
	"flag"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

var kills = flag.Int("kills", 0, "kill the leader of a group and of bare Raft so many times each, without crash detection")

// TestTakeoverBesideRaft kills the leader's process of a fresh group and of a
// fresh floor in turn, at the same timeouts, and says for how long a caller had no
// answer. By hand: `go test ./internal/bench -run TakeoverBesideRaft -kills 20 -timeout 1h -v`.
func TestTakeoverBesideRaft(t *testing.T) {
	if *kills == 0 {
		t.Skip("a measurement: -kills N")
	}
	program := filepath.Join(t.TempDir(), "understudy")
	out, err := exec.Command("go", "build", "-o", program, "../../cmd/understudy").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cfg := &Config{Program: program, Dir: t.TempDir()}
	c := &Case{Path: Client, Payload: 128, Concurrency: 1, Batch: 1, Members: 3, Store: standby.RaftStoreFile}
	var ours, floor []time.Duration
	for range *kills {
		ours = append(ours, killGroup(t, cfg, c))
		floor = append(floor, killFloor(t, cfg, c))
		t.Logf("understudy %v, raft-packed %v", ours[len(ours)-1], floor[len(floor)-1])
	}
	slices.Sort(ours)
	slices.Sort(floor)
	at := func(d []time.Duration, q int) time.Duration { return d[(len(d)-1)*q/100].Round(time.Millisecond) }
	t.Logf("understudy: p50 %v, p90 %v, max %v", at(ours, 50), at(ours, 90), at(ours, 100))
	t.Logf("raft-packed: p50 %v, p90 %v, max %v", at(floor, 50), at(floor, 90), at(floor, 100))
	t.Logf("ratio of p50: %.2f", float64(at(ours, 50))/float64(at(floor, 50)))
}

// killGroup has the members run without crash detection.
func killGroup(t *testing.T, cfg *Config, c *Case) time.Duration {
	opened, err := openProcesses(t.Context(), cfg, c)
	require.NoError(t, err)
	defer opened.close()
	s := opened.(*processes)
	for _, m := range s.members {
		m.Stop(20 * time.Second)
		m.Args = append(m.Args, "--crash-detection=false")
	}
	require.NoError(t, s.start(t.Context()))
	caller, err := s.caller(0)
	require.NoError(t, err)
	i := slices.Index(s.cfg.Members, s.active)
	return outage(t, caller, c, func() error { return s.members[i].Signal(syscall.SIGKILL) })
}

func killFloor(t *testing.T, cfg *Config, c *Case) time.Duration {
	opened, err := openFloorProcesses(t.Context(), cfg, Packed, c)
	require.NoError(t, err)
	defer opened.close()
	s := opened.(*floorProcesses)
	i := slices.IndexFunc(s.members, func(m *floorProcess) bool { return s.place.apis[m.name] == s.leader })
	return outage(t, &restless{s: s}, c, func() error { return s.members[i].Signal(syscall.SIGKILL) })
}

// outage is the time from the last answer before the fault to the first one after it.
func outage(t *testing.T, by caller, c *Case, fault func() error) time.Duration {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	batch := c.payloads()[:1]
	kill := time.Now().Add(time.Second + rand.N(time.Second))
	failed := make(chan error, 1)
	time.AfterFunc(time.Until(kill), func() { failed <- fault() })
	last := time.Now()
	for {
		require.NoError(t, by.call(ctx, batch))
		now := time.Now()
		if now.Sub(last) > 50*time.Millisecond && now.After(kill) || now.Sub(kill) > 10*time.Second {
			require.NoError(t, <-failed)
			return now.Sub(last)
		}
		last = now
	}
}

// restless asks one member after the other until one commits.
type restless struct {
	s    *floorProcesses
	conn *floorConn
}

func (r *restless) call(ctx context.Context, batch [][]byte) error {
	for {
		if r.conn != nil {
			if r.conn.call(ctx, batch) == nil {
				return nil
			}
			r.conn.c.Close()
			r.conn = nil
		}
		for _, addr := range r.s.place.apis {
			c, err := dialFloor(ctx, addr)
			if err != nil {
				continue
			}
			if leads, _, err := c.ask(ctx); err == nil && leads {
				r.conn = c
				break
			}
			c.c.Close()
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
