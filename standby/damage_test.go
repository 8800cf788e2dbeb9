package standby

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
)

// files lists everything under a directory.
func files(t *testing.T, fs durable.FS, dir string) (out []string) {
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		p := path.Join(dir, n)
		if below := files(t, fs, p); len(below) > 0 {
			out = append(out, below...)
		} else {
			out = append(out, p)
		}
	}
	return out
}

// spoil flips a bit of a file, or cuts it.
func spoil(t *testing.T, fs durable.FS, name string, rng *rand.Rand) string {
	f, err := fs.Open(name, false)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	if size == 0 {
		return ""
	}
	at := rng.Int64N(size)
	if rng.IntN(3) == 0 {
		require.NoError(t, f.Truncate(at))
		require.NoError(t, f.Sync())
		return fmt.Sprintf("%s cut to %d of %d bytes", name, at, size)
	}
	b := []byte{0}
	_, err = f.ReadAt(b, at)
	require.True(t, err == nil || err == io.EOF)
	b[0] ^= 1 << rng.IntN(8)
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	return fmt.Sprintf("%s bit flipped at %d of %d", name, at, size)
}

// A checkpoint that was damaged after this process had found it whole is fetched
// again by who restores it, and is no evidence against a replay.
func TestCheckpointDamagedWhileRunning(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "k1 x")
		res, err := c.active().Sync(t.Context())
		require.NoError(t, err)
		var g *Group
		for _, m := range c.members {
			if m.group() != c.active() {
				g = m.group()
			}
		}
		var seal chain.Seal
		c.eventually("the standby has the checkpoint", func() bool {
			n := g.node.Load()
			n.machine.Read(func(s *fsm.State) { seal = s.Checkpoints()[0].Seal })
			return n.replica.restoredSeq.Load() == seal.Seq
		})
		require.Equal(t, res.Seq, seal.Seq)
		n := g.node.Load()
		m, err := g.checks.Manifest(seal.Manifest)
		require.NoError(t, err)
		flip := func() {
			f, err := g.fs.Open("checkpoints/chunks/"+m.Chunks[0].String(), false)
			require.NoError(t, err)
			defer f.Close()
			b := []byte{0}
			_, err = f.ReadAt(b, 0)
			require.NoError(t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b, 0)
			require.NoError(t, err)
		}
		flip()
		h, err := n.restore(t.Context(), &seal)
		require.NoError(t, err)
		require.Empty(t, g.checks.Missing(m))
		flip()
		err = n.sameState(t.Context(), h, &seal)
		require.Error(t, err)
		require.NotErrorIs(t, err, errState)
		require.NoError(t, n.sameState(t.Context(), h, &seal))
		c.check()
	})
}

// A member whose copy of a checkpoint is damaged, and nobody can give it another,
// does not count among those that hold it.
func TestDamagedCheckpointIsNotHeld(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) { cfg.SyncInterval = time.Hour })
		c.must("p", 1, "k1 x")
		a := c.active().cfg.Member
		b, late := c.others(a)[0], c.others(a)[1]
		c.kill(late)
		_, err := c.active().Sync(t.Context())
		require.NoError(t, err)
		newest := func(member string) (ref fsm.CheckpointRef) {
			c.members[member].group().node.Load().machine.Read(func(s *fsm.State) {
				if refs := s.Checkpoints(); len(refs) > 0 {
					ref = refs[len(refs)-1]
				}
			})
			return ref
		}
		c.eventually("the other standby holds it", func() bool { ref := newest(b); return ref.HasDurable(b) })
		from, to := c.members[a].fs.Sub("data"), c.members[late].fs.Sub("data")
		for _, f := range files(t, from, "checkpoints") { // as a kill before its report leaves them
			data, err := from.ReadFile(f, 1<<30)
			require.NoError(t, err)
			require.NoError(t, to.WriteFile(f, data))
		}
		c.kill(a)
		for _, m := range []string{b, late} {
			for _, f := range files(t, c.members[m].fs.Sub("data"), "checkpoints/chunks") {
				require.NoError(t, c.members[m].fs.Sub("data").WriteFile(f, []byte("rot")))
			}
		}
		c.start(late)
		c.must("p", 2, "k1 y")
		time.Sleep(10 * time.Second)
		ref := newest(late)
		require.True(t, ref.HasDurable(a))
		require.False(t, ref.HasDurable(late))
		c.start(a)
		c.eventually("it fetched it", func() bool { ref := newest(late); return ref.HasDurable(late) })
		c.check()
	})
}

// A flipped bit or a cut in any file of one stopped member is refused at its start
// with a message that says what to do, or heals from the others: never another
// answer. Half of the time the member then has to serve.
func TestDamagedFiles(t *testing.T) {
	rounds := 40
	if testing.Short() || raceEnabled {
		rounds = 8
	}
	seed := simFlag("UNDERSTUDY_SIM_SEED", rand.Uint64())
	simulate(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 4))
		what := ""
		defer func() {
			if t.Failed() {
				t.Logf("UNDERSTUDY_SIM_SEED=%d: %s", seed, what)
			}
		}()
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.SyncInterval = 200 * time.Millisecond
			cfg.SnapshotInterval, cfg.TrailingLogs = time.Second, 64
		})
		n, refused := uint64(0), 0
		const victim = "a" // the others are whole
		m := c.members[victim]
		for range rounds {
			for range 10 {
				n++
				c.must("p", n, fmt.Sprintf("k%d event %d", n%3, n))
			}
			time.Sleep(2 * time.Second)
			c.kill(victim)
			fs := m.fs.Sub("data")
			all := slices.DeleteFunc(files(t, fs, "."), func(f string) bool { return strings.Contains(f, ".damaged/") })
			name := all[rng.IntN(len(all))]
			old, err := fs.ReadFile(name, 1<<30)
			require.NoError(t, err)
			what = victim + ": " + spoil(t, fs, name, rng)
			g, err := Open(c.config(victim))
			if err != nil {
				refused++
				require.ErrorContains(t, err, "damaged", what)
				require.NoError(t, fs.WriteFile(name, old)) // as restored by the operator
				g, err = Open(c.config(victim))
				require.NoError(t, err)
			}
			m.up.Store(g)
			if strings.HasPrefix(name, "history/") {
				c.noOtherLink(g)
				c.kill(victim)
				require.NoError(t, fs.RemoveAll("history")) // as the operator does: it is fetched again
				c.start(victim)
			}
			if rng.IntN(2) == 0 {
				c.settled()
				c.kill(c.active().cfg.Member)
				n++
				c.must("p", n, "with one that was damaged")
				for name, m := range c.members {
					if m.group() == nil {
						c.start(name)
					}
				}
			}
			c.check()
		}
		c.recheck()
		t.Logf("%d of %d were refused, the others healed", refused, rounds)
	})
}

// A torn write may leave some of a step's outputs: they are fetched again
// together, and nothing before them is given up.
func TestTornOutputs(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally, func(cfg *Config) {
			cfg.SyncInterval, cfg.SnapshotInterval, cfg.TrailingLogs = time.Hour, time.Second, 4
		})
		c.must("p", 1, "k2 before")
		c.must("p", 2, "k3 torn")
		for n := uint64(3); n < 20; n++ {
			c.must("p", n, "k0")
		}
		c.settled()
		time.Sleep(5 * time.Second) // for a snapshot: what it covers does not come again from the log
		victim := c.active().cfg.Member
		c.end(victim, false)
		f, err := c.members[victim].fs.Sub("data/outputs").Open("00000000000000000001.out", false)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		require.NoError(t, f.Truncate(size-1))
		c.start(victim)
		c.check()
	})
}

// Two of three members with damage in the same outputs get them from the third,
// and do not ask each other in a circle.
func TestOutputsDamagedOnTwoMembers(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		for i := uint64(1); i <= 8; i++ {
			c.must("p", i, "k1 x")
		}
		c.check()
		var damaged []*Group // the active, and the first one that it asks
		for _, m := range c.f.Roster.Members {
			if g := c.members[m.Name].group(); g != c.active() && damaged == nil {
				damaged = []*Group{c.active(), g}
			}
		}
		for _, g := range damaged {
			f, err := g.fs.Open("outputs/00000000000000000001.out", false)
			require.NoError(t, err)
			var b [1]byte
			_, err = f.ReadAt(b[:], 30)
			require.NoError(t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b[:], 30)
			require.NoError(t, err)
		}
		start := time.Now()
		outs, err := damaged[1].readOutputs(1, 4)
		require.NoError(t, err)
		require.Len(t, outs, 4)
		require.Less(t, time.Since(start), 10*time.Second, "a circle ends with the time for a call")
		c.recheck()
	})
}

// noOtherLink: what a member with a damaged history says of it is right, or
// that it is damaged.
func (c *cluster) noOtherLink(g *Group) {
	c.settled()
	var whole *Group
	for _, m := range c.members {
		if m.group() != g {
			whole = m.group()
		}
	}
	for seq := range min(g.hist.Size(), whole.hist.Size()) {
		want, err := whole.hist.Link(seq)
		require.NoError(c.t, err)
		if got, err := g.hist.Link(seq); err == nil {
			require.Equal(c.t, want, got)
		} else {
			require.ErrorIs(c.t, err, durable.ErrDamaged)
		}
	}
}

// A member whose state machine holds another history than the group, as after a
// fork of the log, applies nothing more, says so, and is never promoted. The
// others go on.
func TestForkedMember(t *testing.T) {
	var foreign bytes.Buffer
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "of another line")
		c.settled()
		c.active().node.Load().machine.Read(func(s *fsm.State) {
			_, err := s.Snapshot().WriteTo(&foreign)
			require.NoError(t, err)
		})
	})
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, newTally)
		c.must("p", 1, "x")
		c.settled()
		var name string
		for name = range c.members {
			if c.members[name].group() != c.active() {
				break
			}
		}
		g := c.members[name].group()
		require.NoError(t, g.node.Load().machine.Restore(io.NopCloser(&foreign)))
		at := g.node.Load().head()
		c.must("p", 2, "y")
		c.eventually("the forked member says so", func() bool {
			var err error
			g.node.Load().machine.Read(func(s *fsm.State) { err = s.Diverged() })
			return err != nil && g.Status().Role == RoleFailed
		})
		require.Equal(t, at, g.node.Load().head())
		require.Error(t, g.node.Load().mayLead())
		c.kill(c.active().cfg.Member) // of the two that are left, the forked one must not serve
		time.Sleep(time.Minute)
		require.NotEqual(t, RoleActive, g.Status().Role)
		require.NotEqual(t, raft.Leader, g.node.Load().raft.State(), "it gave leadership away")
		require.Equal(t, at, g.node.Load().head())
	})
}
