package integration

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/daemons"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/history"
	"github.com/understudy-ha/understudy/standby"
)

var thorough = flag.Bool("thorough", false, "every kind of damage to every file, not a sample")

// damage is what a disk does to a file.
type damage struct {
	name string
	do   func(rng *rand.Rand, b []byte) []byte
}

var damages = []damage{
	{"a bit of its first bytes", func(rng *rand.Rand, b []byte) []byte { return flip(rng, b, 0, min(len(b), 48)) }},
	{"a bit somewhere", func(rng *rand.Rand, b []byte) []byte { return flip(rng, b, 0, len(b)) }},
	{"a bit of its last bytes", func(rng *rand.Rand, b []byte) []byte { return flip(rng, b, max(0, len(b)-64), len(b)) }},
	{"its second half", func(rng *rand.Rand, b []byte) []byte { return b[:len(b)/2] }},
	{"its last byte", func(rng *rand.Rand, b []byte) []byte { return b[:max(0, len(b)-1)] }},
	{"all of it", func(rng *rand.Rand, b []byte) []byte { return nil }},
	{"a page", zeroPage},
}

// flip changes one bit between two positions, of a byte that means something
// if there is one: much of a database file is unused.
func flip(rng *rand.Rand, b []byte, from, to int) []byte {
	if from >= to {
		return b
	}
	at := from + rng.IntN(to-from)
	for range 10_000 {
		if b[at] != 0 {
			break
		}
		at = from + rng.IntN(to-from)
	}
	b[at] ^= 1 << rng.IntN(8)
	return b
}

// zeroPage is what a lost write leaves.
func zeroPage(rng *rand.Rand, b []byte) []byte {
	const page = 4096
	var used []int
	for at := 0; at < len(b); at += page {
		if bytes.ContainsFunc(b[at:min(at+page, len(b))], func(r rune) bool { return r != 0 }) {
			used = append(used, at)
		}
	}
	if len(used) > 0 {
		at := used[rng.IntN(len(used))]
		clear(b[at:min(at+page, len(b))])
	}
	return b
}

// A file of a stopped member is damaged, one after the other, in every way. A
// damaged Raft store or identity is refused with a reason, or the damage was in
// bytes that mean nothing; everything else heals from the other members. No
// process crashes, and no answer is ever wrong.
func TestDamagedFiles(t *testing.T) {
	slow(t)
	s := newStage(t, plan{daemon: "ledger", events: 9000})
	s.busy(3000)
	s.quiet()
	m := s.standby()
	s.stop(m)
	s.snapshot(m)
	s.start(m)
	s.healthy()
	s.synced(m)
	s.kill(m)

	kinds := make(map[string]bool)
	for _, path := range files(t, m.data()) {
		name, err := filepath.Rel(m.data(), path)
		require.NoError(t, err)
		kind, _, _ := strings.Cut(name, string(filepath.Separator))
		kinds[kind] = true
		for _, i := range s.rng.Perm(len(damages))[:s.sample(kind)] {
			ok := t.Run(kind+" "+filepath.Base(name)+" "+damages[i].name, func(t *testing.T) {
				defer s.lend(t)()
				s.damaged(m, path, kind, damages[i])
			})
			if !ok {
				return // what follows would start from a broken group
			}
		}
	}
	require.Len(t, kinds, 8, "kinds of files: %v", kinds)
	s.start(m)
	s.healthy()
	_, err := s.client.Switchover(s.ctx, m.name)
	require.NoError(t, err)
	s.finish()
}

// damaged damages a file of a stopped member, starts it, and sees what must
// happen. The member is stopped again afterwards.
func (s *stage) damaged(m *member, path, kind string, d damage) {
	s.t.Helper()
	was, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return // collected meanwhile
	}
	require.NoError(s.t, err)
	now := d.do(s.rng, bytes.Clone(was))
	if bytes.Equal(was, now) {
		return
	}
	require.NoError(s.t, os.WriteFile(path, now, 0o600))
	restore := func() { require.NoError(s.t, os.WriteFile(path, was, 0o600)) }
	switch kind {
	case "raft", "identity", "peers": // without peers it cannot know whom it may trust
		if s.refusesDamage(m) {
			restore()
		}
	default:
		s.start(m)
		s.healthy()
		s.synced(m)
		s.intact(m)
		s.kill(m)
	}
}

// intact waits until a member's whole history is on its disk: any link of it
// may be asked for by a proof.
func (s *stage) intact(m *member) {
	s.t.Helper()
	s.await("waiting for the history of "+m.name, func(context.Context) error {
		dir, err := os.MkdirTemp(s.dir, "history-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(m.data(), "history"))); err != nil {
			return err
		}
		h, err := history.Open(durable.OS(dir), s.founding.Origin())
		if err != nil {
			return err
		}
		defer h.Close()
		_, st, err := s.find(s.ctx, 0)
		if err == nil && h.Size() < st.Seq {
			err = fmt.Errorf("it has %d links of %d", h.Size(), st.Seq)
		}
		if err == nil {
			_, err = h.Scrub(0, int(h.Size()))
		}
		return err
	})
}

// sample is in how many ways a file of a kind is damaged.
func (s *stage) sample(kind string) int {
	switch {
	case *thorough:
		return len(damages)
	case kind == "raft" || kind == "identity":
		return 4
	}
	return 2
}

func files(t *testing.T, dir string) []string {
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, path)
		}
		return err
	}))
	return out
}

// refusesDamage starts a member with a damaged Raft store. It says whether it
// refused; one that starts must be whole.
func (s *stage) refusesDamage(m *member) bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, m.Program, m.Args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(s.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { s.calm(m.name, out.String()) }()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			require.ErrorAs(s.t, err, &exit)
			require.Equal(s.t, 1, exit.ExitCode(), out.String())
			require.Regexp(s.t, "damaged|it is gone|is a wiped disk|bytes, .* are right", out.String())
			return true
		case <-time.After(20 * time.Millisecond): // between two questions
		}
		try, stop := context.WithTimeout(ctx, 200*time.Millisecond)
		st, err := m.client.Status(try)
		if stop(); err == nil && st.Role == standby.RoleStandby {
			s.synced(m)
			require.NoError(s.t, cmd.Process.Kill())
			<-ended
			return false
		}
	}
}

// synced waits until a member has what the active has, and compares it: every
// output, and the state.
func (s *stage) synced(m *member) {
	s.t.Helper()
	query := []byte(whole[s.daemon])
	s.await("waiting for the state of "+m.name, func(ctx context.Context) error {
		if _, err := s.client.Sync(ctx); err != nil {
			return err
		}
		want, err := s.client.Query(ctx, query, false)
		if err != nil {
			return err
		}
		got, err := m.client.Query(ctx, query, true)
		if err == nil && !bytes.Equal(want.Data, got.Data) {
			err = fmt.Errorf("%s has another state as of seq %d than the active as of seq %d", m.name, got.Seq, want.Seq)
		}
		return err
	})
	active, st := s.active()
	s.keeps(m, s.outputs(active, st.Outputs))
}

// outputs are the first n outputs as a member has them.
func (s *stage) outputs(m *member, n uint64) []chain.Output {
	s.t.Helper()
	var out []chain.Output
	for o, err := range m.client.Outputs(s.ctx, 1, false) {
		require.NoError(s.t, err)
		if out = append(out, o); uint64(len(out)) == n {
			break
		}
	}
	return out
}

// snapshot runs a member for a while within this process, with a Raft that
// takes snapshots early: that of the command does at 8,192 entries.
func (s *stage) snapshot(m *member) {
	s.t.Helper()
	c, err := config.Load(filepath.Join(m.dir, found.ConfigFile), nil)
	require.NoError(s.t, err)
	fresh, err := daemons.New(s.daemon)
	require.NoError(s.t, err)
	cfg, err := c.Standby(fresh, slog.New(slog.DiscardHandler), "test")
	require.NoError(s.t, err)
	cfg.SnapshotInterval, cfg.TrailingLogs = 100*time.Millisecond, 16
	g, err := standby.Open(cfg)
	require.NoError(s.t, err)
	s.await("waiting for a snapshot", func(context.Context) error {
		s.allow(20) // a few at a time: each makes an entry, and snapshots are due by entries
		names, err := os.ReadDir(filepath.Join(m.data(), "raft", "digests"))
		if err == nil && len(names) < 2 {
			err = fmt.Errorf("there are %d", len(names))
		}
		return err
	})
	require.NoError(s.t, g.Close(s.ctx))
	s.quiet()
}
