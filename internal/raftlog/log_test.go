package raftlog

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// The log says what Raft's own store in memory says, whatever is done to them.
func TestLogModel(t *testing.T) {
	for range 30 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		fs := durable.NewMem().Sub("log")
		l, ref, m := small(t, fs), raft.NewInmemStore(), &model{}
		for range 150 {
			o := m.next(r)
			var err error
			l, err = do(fs, l, o)
			require.NoError(t, err, "seed %d", seed)
			if o.store != nil {
				require.NoError(t, ref.StoreLogs(o.store))
			} else if o.to > 0 {
				require.NoError(t, ref.DeleteRange(max(o.from, 1), o.to)) // 0 confuses it
			}
			m.apply(o)
			got := content(t, l)
			require.True(t, equal(content(t, ref), got), "seed %d", seed)
			require.True(t, equal(m.logs, got), "seed %d", seed)
		}
		require.NoError(t, l.Close())
	}
}

func TestLogSemantics(t *testing.T) {
	l := small(t, durable.NewMem().Sub("log"))
	defer l.Close()
	var e raft.Log
	require.Empty(t, content(t, l))
	require.ErrorIs(t, l.GetLog(0, &e), raft.ErrLogNotFound)
	require.NoError(t, l.DeleteRange(0, 100), "nothing to remove")
	require.Error(t, l.StoreLog(entry(0, 1, 10)))
	require.NoError(t, l.StoreLogs(nil))
	require.NoError(t, l.StoreLogs([]*raft.Log{entry(7, 1, 10), entry(8, 1, 10), entry(9, 1, 10)}), "an empty log begins anywhere")
	require.Error(t, l.StoreLog(entry(11, 1, 10)), "a gap")
	require.Error(t, l.StoreLog(entry(9, 1, 10)), "in place of another")
	require.Error(t, l.StoreLogs([]*raft.Log{entry(10, 1, 10), entry(12, 1, 10)}), "a gap within")
	require.Error(t, l.DeleteRange(8, 8), "a gap")
	require.ErrorContains(t, l.StoreLog(entry(10, 1, smallSegment)), "a segment has")
	require.Len(t, content(t, l), 3, "refusals change nothing and are not final")
	require.NoError(t, l.DeleteRange(7, 9))
	require.Empty(t, content(t, l))
	require.NoError(t, l.StoreLog(entry(500, 2, 10)), "after an installed snapshot")
	require.Len(t, content(t, l), 1)
	_, monotonic := raft.LogStore(l).(raft.MonotonicLogStore)
	require.False(t, monotonic, "Raft would remove entries after an installed snapshot that it has acknowledged")
}

// A log's files do not outlive its entries.
func TestLogIsBounded(t *testing.T) {
	fs := durable.NewMem().Sub("log")
	l := small(t, fs)
	most := 0
	for i := uint64(1); i <= 2000; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1, 100)))
		if i%10 == 0 && i > 20 {
			require.NoError(t, l.DeleteRange(0, i-20))
		}
		names, err := fs.List(".")
		require.NoError(t, err)
		most = max(most, len(names))
		require.LessOrEqual(t, cap(l.index.at), 200)
	}
	require.LessOrEqual(t, most, 8)
	require.NoError(t, l.Close())
}

// Readers, an appender and the compaction of snapshots at once, with files.
func TestLogConcurrent(t *testing.T) {
	fs := durable.OS(t.TempDir()).Sub("log")
	l, err := Open(fs, Options{SegmentBytes: 16 * pageSize, MarkAfter: time.Millisecond})
	require.NoError(t, err)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for i := uint64(1); ; i++ {
				select {
				case <-done:
					return
				default:
				}
				last, _ := l.LastIndex()
				var e raft.Log
				if err := l.GetLog(1+i%(last+1), &e); err == nil {
					if want := entry(e.Index, 1, 700); string(want.Data) != string(e.Data) || want.Index != 1+i%(last+1) {
						panic("another entry")
					}
				} else if err != raft.ErrLogNotFound {
					panic(err)
				}
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if last, _ := l.LastIndex(); last > 40 {
				if err := l.DeleteRange(0, last-40); err != nil {
					panic(err)
				}
			}
		}
	})
	for i := uint64(1); i <= 120; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1, 700)))
	}
	close(done)
	wg.Wait()
	want := content(t, l)
	require.NoError(t, l.Close())
	l, err = Open(fs, Options{})
	require.NoError(t, err)
	require.True(t, equal(want, content(t, l)))
	require.NoError(t, l.Close())
}

// A disk that is full for a moment, in which nothing is appended, is nothing that
// ends the log: the mark before is as good, and is written anew in the next silence.
func TestMarkThatFindsNoRoom(t *testing.T) {
	p := newPlug()
	l := small(t, p.fs())
	require.NoError(t, l.StoreLog(entry(1, 1, 100)))
	for _, what := range []string{"write", "sync"} {
		tried := false
		p.mem.Hook = func(op, name string) error {
			if op == what && name == "log/"+markFile {
				tried = true
				return errPower
			}
			return nil
		}
		l.markIdle(l.frame)
		require.True(t, tried)
		require.NotEqual(t, l.frame, l.marked)
	}
	p.mem.Hook = nil
	l.markIdle(l.frame)
	require.Equal(t, l.frame, l.marked)
	require.NoError(t, l.StoreLog(entry(2, 1, 100)))
	p.restore(func() bool { return false })
	require.Len(t, content(t, small(t, p.fs())), 2)
}
