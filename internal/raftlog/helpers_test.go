package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

const smallSegment = 8 * pageSize

func small(t *testing.T, fs durable.FS) *Log {
	l, err := open(fs, Options{SegmentBytes: smallSegment})
	require.NoError(t, err)
	return l
}

// entry is what a log of that line has at an index.
func entry(i uint64, line, size int) *raft.Log {
	return &raft.Log{
		Index: i, Term: uint64(line), Type: raft.LogCommand, AppendedAt: time.Unix(0, int64(i)),
		Data: bytes.Repeat([]byte{byte(i), byte(line)}, size/2), Extensions: fmt.Appendf(nil, "%d/%d", i, line),
	}
}

// content is all that a store holds.
func content(t *testing.T, s raft.LogStore) []raft.Log {
	first, err := s.FirstIndex()
	require.NoError(t, err)
	last, err := s.LastIndex()
	require.NoError(t, err)
	var out []raft.Log
	for i := first; i <= last && last > 0; i++ {
		var e raft.Log
		require.NoError(t, s.GetLog(i, &e))
		out = append(out, e)
	}
	var e raft.Log
	require.ErrorIs(t, s.GetLog(last+1, &e), raft.ErrLogNotFound)
	if first > 0 {
		require.ErrorIs(t, s.GetLog(first-1, &e), raft.ErrLogNotFound)
	}
	return out
}

// equal compares without a page of numbers when it fails.
func equal(a, b []raft.Log) bool {
	return slices.EqualFunc(a, b, func(x, y raft.Log) bool {
		return x.Index == y.Index && x.Term == y.Term && x.Type == y.Type && x.AppendedAt.Equal(y.AppendedAt) &&
			string(x.Data) == string(y.Data) && string(x.Extensions) == string(y.Extensions)
	})
}

// model is the log as a slice.
type model struct{ logs []raft.Log }

func (m *model) first() uint64 { return m.logs[0].Index }
func (m *model) last() uint64  { return m.logs[len(m.logs)-1].Index }

// op is one thing that Raft does with its log.
type op struct {
	store    []*raft.Log
	from, to uint64
	reopen   bool
}

// next makes up what Raft might do next.
func (m *model) next(r *rand.Rand) op {
	line := 1 + r.IntN(200)
	switch k := r.IntN(20); {
	case k == 0:
		return op{reopen: true}
	case k < 4 && len(m.logs) > 0: // compaction
		return op{from: r.Uint64N(m.first() + 1), to: m.first() + r.Uint64N(uint64(len(m.logs)))}
	case k < 7 && len(m.logs) > 0: // a conflict
		return op{from: m.last() - r.Uint64N(uint64(min(len(m.logs), 9))), to: m.last() + r.Uint64N(2)}
	case k == 7 && len(m.logs) > 0: // an installed snapshot
		return op{from: m.first(), to: m.last()}
	}
	start := 1 + r.Uint64N(1000)
	if len(m.logs) > 0 {
		start = m.last() + 1
	}
	var o op
	for i := range 1 + r.Uint64N(5) {
		size := 2 + r.IntN(300)
		if r.IntN(5) == 0 {
			size = 2 + r.IntN(6000)
		}
		o.store = append(o.store, entry(start+i, line, size))
	}
	return o
}

func (m *model) apply(o op) {
	for _, e := range o.store {
		m.logs = append(m.logs, *e)
	}
	if o.to > 0 {
		var kept []raft.Log
		for _, e := range m.logs {
			if e.Index < o.from || e.Index > o.to {
				kept = append(kept, e)
			}
		}
		m.logs = kept
	}
}

// do does it to a log; nil if it was closed and does not open.
func do(fs durable.FS, l *Log, o op) (*Log, error) {
	switch {
	case o.reopen:
		if err := l.Close(); err != nil {
			return nil, err
		}
		return open(fs, Options{SegmentBytes: smallSegment})
	case o.store != nil:
		return l, l.StoreLogs(o.store)
	default:
		return l, l.DeleteRange(o.from, o.to)
	}
}

var errPower = errors.New("power is out")

// plug is a file system that loses power at its nth operation.
type plug struct {
	mem  *durable.Mem
	left atomic.Int64
}

func newPlug() *plug {
	p := &plug{mem: durable.NewMem()}
	p.left.Store(1 << 40)
	p.mem.Hook = func(string, string) error {
		if p.left.Add(-1) < 0 {
			return errPower
		}
		return nil
	}
	return p
}

func (p *plug) fs() durable.FS { return p.mem.Sub("log") }

// restore brings power back; of what was not synced the disk has what kept says.
func (p *plug) restore(kept func() bool) {
	p.mem.Tear(kept)
	p.left.Store(1 << 40)
}
