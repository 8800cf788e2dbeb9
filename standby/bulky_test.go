package standby

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/checkpoint"
	"github.com/understudy-ha/understudy/internal/durable"
)

// bulky has a state of eight chunks, which it gives and takes in one piece.
type bulky struct{ tally }

func (d *bulky) Snapshot() ([]byte, error) {
	head, err := d.tally.Snapshot()
	b := make([]byte, 8*checkpoint.ChunkSize)
	for i := range b {
		b[i] = byte(i >> 20)
	}
	copy(b, append(head, '\n'))
	return b, err
}

func (d *bulky) Restore(b []byte) error {
	head, _, _ := bytes.Cut(b, []byte("\n"))
	return d.tally.Restore(head)
}

// crawling is a disk on which each chunk takes its time.
type crawling struct {
	durable.FS
	read, write time.Duration
}

func (f crawling) Sub(dir string) durable.FS { return crawling{f.FS.Sub(dir), f.read, f.write} }

func (f crawling) ReadFile(name string, max int64) ([]byte, error) {
	if strings.HasPrefix(name, "chunks/") {
		time.Sleep(f.read)
	}
	return f.FS.ReadFile(name, max)
}

func (f crawling) Place(name string, data []byte) error {
	if strings.HasPrefix(name, "chunks/") {
		time.Sleep(f.write)
	}
	return f.FS.Place(name, data)
}

// A state that a slow disk takes in chunk by chunk, while the daemon gives it in
// one piece, is no daemon that hangs.
func TestLargeStateOnASlowDisk(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return &bulky{} }, func(cfg *Config) {
			cfg.SyncInterval = time.Hour
			cfg.Env.FS = crawling{FS: cfg.Env.FS, write: 2 * time.Second}
		})
		c.must("p", 1, "x")
		_, err := c.active().Sync(t.Context())
		require.NoError(t, err)
		require.Zero(t, c.active().hung.Load())
		c.check()
	})
}

// A member that starts with a large state reads it from a slow disk before it
// restores it, and that gets on.
func TestLargeStateIsReadAfterAStart(t *testing.T) {
	simulate(t, func(t *testing.T) {
		c := newCluster(t, 3, func() host.Daemon { return &bulky{} }, func(cfg *Config) {
			cfg.SyncInterval, cfg.PromotionStall = time.Hour, time.Second
			cfg.Env.FS = crawling{FS: cfg.Env.FS, read: 800 * time.Millisecond}
		})
		c.must("p", 1, "x")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		_, err := c.active().Sync(ctx)
		require.NoError(t, err)
		for _, m := range c.members {
			require.Zero(t, m.group().hung.Load())
		}
		name := c.others(c.active().cfg.Member)[0]
		c.kill(name)
		g := c.start(name)
		c.eventually("it is restored", func() bool { return g.node.Load().replica.restoredSeq.Load() > 0 })
		require.Zero(t, g.hung.Load())
		require.Empty(t, g.notes.reason)
		c.check()
	})
}
