package standby

import (
	"bytes"
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

func (f crawling) WriteFile(name string, data []byte) error {
	if strings.HasPrefix(name, "chunks/") {
		time.Sleep(f.write)
	}
	return f.FS.WriteFile(name, data)
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
