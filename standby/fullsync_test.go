package standby

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/checkpoint"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// onDisk gives members directories of the machine and the real network, over
// loopback; Raft's stores stay in memory.
func onDisk(b *testing.B, f *chain.Founding) func(*Config) {
	dir := b.TempDir()
	ca, err := pki.NewCA(f.Group, time.Now())
	require.NoError(b, err)
	ports, err := local.ReservePorts(len(f.Roster.Members))
	require.NoError(b, err)
	b.Cleanup(ports.Release)
	addr := make(map[string]string)
	for i, m := range f.Roster.Members {
		addr[m.Name] = ports.Addrs[i]
		require.NoError(b, ca.Issue(durable.OS(filepath.Join(dir, m.Name, "tls")), f.Group, f.Origin(), m.Name, time.Now()))
	}
	return func(cfg *Config) {
		member, key := cfg.Member, cfg.Keys.Log
		cfg.Env.FS = durable.OS(filepath.Join(dir, member, "data"))
		cfg.Env.Network = func(id peernet.Identity, memory durable.FS, log *slog.Logger) (peernet.Network, error) {
			tls, err := pki.LoadMember(filepath.Join(dir, member, "tls"))
			if err != nil {
				return nil, err
			}
			return peernet.Listen(peernet.Config{
				Identity: id, Roster: f.Roster, Key: key, Listen: addr[member], Peers: addr, TLS: tls, Memory: memory, Logger: log,
			})
		}
	}
}

// How fast a standby that has nothing gets a checkpoint of 256 MiB from the
// active over TLS, every chunk checked by both and durable, and beside it what
// a plain TCP stream of the same bytes gives that is hashed the same way and
// written to one file, which is fsynced once.
func BenchmarkFullSync(b *testing.B) {
	f := testkit.Founding(2)
	c := newClusterOf(b, f, newKV, onDisk(b, f), func(cfg *Config) {
		cfg.Heartbeat, cfg.Election, cfg.Lease = 20*time.Second, 20*time.Second, 20*time.Second
		cfg.SyncInterval = time.Hour
		cfg.MaxJournalSteps, cfg.MaxJournalBytes = 1<<30, 1<<30
	})
	active := c.active()
	rng := rand.NewChaCha8([32]byte{1})
	half := make([]byte, kv.MaxValue/2)
	for k := range (256 << 20) / kv.MaxValue {
		rng.Read(half)
		r, err := active.Deliver(b.Context(), Event{Producer: "p", Sequence: uint64(k) + 1, Payload: fmt.Appendf(nil, "put key%04d %x", k, half)})
		require.NoError(b, err)
		require.False(b, r.Rejected)
	}
	sync, err := active.Sync(b.Context())
	require.NoError(b, err)
	standby := c.members[c.others(active.cfg.Member)[0]].group().node.Load()
	seal := chain.Seal{Seq: sync.Seq, Manifest: sync.Manifest, Size: sync.Bytes}

	var fetch, stream time.Duration
	dir := b.TempDir()
	b.SetBytes(int64(sync.Bytes))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, standby.g.checks.Collect(nil))
		start := time.Now()
		plainStream(b, active.checks, seal.Manifest, filepath.Join(dir, "plain"))
		stream += time.Since(start)
		b.StartTimer()
		start = time.Now()
		require.NoError(b, standby.fetchCheckpoint(b.Context(), &seal))
		fetch += time.Since(start)
	}
	b.ReportMetric(float64(b.N)*float64(sync.Bytes)/(1<<20)/stream.Seconds(), "stream-MiB/s")
	b.ReportMetric(float64(stream)/float64(fetch), "of-stream")
}

func plainStream(b *testing.B, from *checkpoint.Store, manifest chain.Hash, to string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer ln.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		state, _, err := from.State(manifest)
		if err == nil {
			_, err = io.Copy(conn, state)
		}
		if err != nil {
			b.Error(err)
		}
	})
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(b, err)
	defer conn.Close()
	fs := durable.OS(filepath.Dir(to))
	file, err := fs.Open(filepath.Base(to), true)
	require.NoError(b, err)
	defer file.Close()
	h, buf, at := chain.NewHasher("chunk"), make([]byte, checkpoint.ChunkSize), int64(0)
	for {
		n, err := io.ReadFull(conn, buf)
		h.Write(buf[:n])
		_, werr := file.WriteAt(buf[:n], at)
		require.NoError(b, werr)
		if at += int64(n); err != nil {
			break
		}
	}
	require.NoError(b, file.Sync())
	require.NoError(b, fs.Remove(filepath.Base(to)))
}
