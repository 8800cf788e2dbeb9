package raftlog

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// The power goes at every operation on the disk, one after the other, and of
// what was being written the disk has nothing, all, or any sectors: what was
// acknowledged is there, and nothing that was not asked for. The log then goes
// on, and loses nothing at the next cut either.
func TestPowerLossAtEveryOperation(t *testing.T) {
	steps := 60
	if testing.Short() {
		steps = 25
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	torn := func() bool { return r.IntN(2) == 0 }
	keeps := []func() bool{func() bool { return false }, func() bool { return true }, torn, torn}
	crashes := 0
	for n := int64(0); ; n++ {
		cut := false
		for _, kept := range keeps {
			p := newPlug()
			p.left.Store(n)
			before, after := script(p, rand.New(rand.NewPCG(seed, 3)), steps)
			if cut = after != nil; !cut {
				continue
			}
			crashes++
			p.restore(kept)
			l := small(t, p.fs())
			got := content(t, l)
			require.True(t, slices.ContainsFunc(after, func(m []raft.Log) bool { return equal(m, got) }) || equal(before, got),
				"operation %d: %d entries were acknowledged, %d are there", n, len(before), len(got))
			// It goes on, and the next cut finds all of it.
			next := entry(1, 999, 5000)
			if len(got) > 0 {
				next.Index = got[len(got)-1].Index + 1
			}
			require.NoError(t, l.StoreLog(next))
			p.restore(func() bool { return false })
			require.True(t, equal(append(got, *next), content(t, small(t, p.fs()))), "operation %d", n)
		}
		if !cut {
			break
		}
	}
	require.Greater(t, crashes, 300)
}

// script does things to a log until the power is out. It returns what was
// acknowledged and what the operation that was cut may have come to; nil if the
// power lasted.
func script(p *plug, r *rand.Rand, steps int) (before []raft.Log, after [][]raft.Log) {
	m := &model{}
	l, err := open(p.fs(), Options{SegmentBytes: smallSegment})
	for range steps {
		if err != nil {
			return m.logs, [][]raft.Log{m.logs}
		}
		o := m.next(r)
		if l, err = do(p.fs(), l, o); err == nil {
			m.apply(o)
			continue
		}
		for i := range o.store {
			after = append(after, append(slices.Clone(m.logs), deref(o.store[:i+1])...))
		}
		cut := &model{slices.Clone(m.logs)}
		cut.apply(op{from: o.from, to: o.to})
		return m.logs, append(after, cut.logs)
	}
	return m.logs, nil
}

func deref(logs []*raft.Log) (out []raft.Log) {
	for _, l := range logs {
		out = append(out, *l)
	}
	return out
}

// What a killed process had written and not synced is made durable before the
// next one counts on it.
func TestProcessDiesBeforeSync(t *testing.T) {
	p := newPlug()
	l := small(t, p.fs())
	require.NoError(t, l.StoreLog(entry(1, 1, 100)))
	p.mem.Hook = func(op, _ string) error {
		if op == "sync" {
			return errPower
		}
		return nil
	}
	require.ErrorIs(t, l.StoreLog(entry(2, 1, 100)), errPower)
	p.mem.Hook = nil
	require.Len(t, content(t, small(t, p.fs())), 2, "it is there, unasked for but harmless")
	p.restore(func() bool { return false })
	require.Len(t, content(t, small(t, p.fs())), 2, "and stays")
}

// The first failed write is the last, though the disk says yes again.
func TestLogFailsForGood(t *testing.T) {
	for _, what := range []string{"write", "sync"} {
		p := newPlug()
		l := small(t, p.fs())
		require.NoError(t, l.StoreLog(entry(1, 1, 100)))
		p.mem.Hook = func(op, _ string) error {
			if op == what {
				return errPower
			}
			return nil
		}
		require.ErrorIs(t, l.StoreLog(entry(2, 1, 100)), errPower)
		p.mem.Hook = nil
		require.ErrorIs(t, l.StoreLog(entry(2, 1, 100)), errPower)
		require.ErrorIs(t, l.DeleteRange(1, 1), errPower)
		require.Len(t, content(t, l), 1)
	}
}

// lazy is a file system whose files do not sync: the tests above would notice.
type lazy struct{ durable.FS }
type lazyFile struct{ durable.File }

func (lazyFile) Datasync() error { return nil }

func (z lazy) Open(name string, create bool) (durable.File, error) {
	f, err := z.FS.Open(name, create)
	return lazyFile{f}, err
}

func TestControlWithoutSyncEntriesAreLost(t *testing.T) {
	p := newPlug()
	l := small(t, lazy{p.fs()})
	for i := uint64(1); i <= 3; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1, 100)))
	}
	p.restore(func() bool { return false })
	require.Empty(t, content(t, small(t, p.fs())))
}
