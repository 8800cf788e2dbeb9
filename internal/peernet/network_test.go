package peernet_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func identity(f *chain.Founding, member string, store byte, starts uint64) peernet.Identity {
	id := peernet.Identity{Group: f.Group, Origin: f.Origin(), Member: member, StoreID: [16]byte{store}, Starts: starts}
	for i := range min(starts, uint64(len(id.Marks))) {
		id.Marks[i] = [8]byte{store, byte(starts - i)}
	}
	return id
}

// world makes real networks on loopback.
type world struct {
	t     *testing.T
	f     *chain.Founding
	dir   string
	peers map[string]string
	mem   map[string]durable.FS
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, f: testkit.Founding(3), dir: t.TempDir(), peers: map[string]string{}, mem: map[string]durable.FS{}}
	ca, err := pki.NewCA(w.f.Group, time.Now())
	require.NoError(t, err)
	ports, err := local.ReservePorts(3)
	require.NoError(t, err)
	t.Cleanup(ports.Release)
	for i, m := range testkit.Names(3) {
		require.NoError(t, ca.Issue(durable.OS(filepath.Join(w.dir, m)), w.f.Group, w.f.Origin(), m, time.Now()))
		w.mem[m] = durable.NewMem().Sub("peers")
		w.peers[m] = ports.Addrs[i]
	}
	return w
}

func (w *world) join(id peernet.Identity, change ...func(*peernet.Config)) peernet.Network {
	tls, err := pki.LoadMember(filepath.Join(w.dir, id.Member))
	require.NoError(w.t, err)
	cfg := peernet.Config{
		Identity: id, Roster: w.f.Roster, Key: testkit.Keys(id.Member).Log, Listen: w.peers[id.Member], Peers: w.peers, TLS: tls, Memory: w.mem[id.Member],
	}
	for _, c := range change {
		c(&cfg)
	}
	n, err := peernet.Listen(cfg)
	require.NoError(w.t, err)
	return n
}

func talk(t *testing.T, from, to peernet.Network, member string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := from.Dial(ctx, member, peernet.RPC)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := to.Listener(peernet.RPC).Accept()
	require.NoError(t, err)
	defer s.Close()
	msg := bytes.Repeat([]byte("hello"), 100_000)
	go func() { c.Write(msg) }()
	got := make([]byte, len(msg))
	_, err = io.ReadFull(s, got)
	require.NoError(t, err)
	require.Equal(t, msg, got)
	require.Equal(t, member, c.Peer().Member)
	return nil
}

func TestRealNetwork(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	w := newWorld(t)
	a, b := w.join(identity(w.f, "a", 1, 1)), w.join(identity(w.f, "b", 2, 1))
	defer a.Close()
	require.NoError(t, talk(t, a, b, "b"))
	require.NoError(t, talk(t, b, a, "a"))
	require.NoError(t, b.Close())

	refused := func(why string, id peernet.Identity, change ...func(*peernet.Config)) {
		t.Helper()
		b := w.join(id, change...)
		defer b.Close()
		err := talk(t, a, b, "b")
		require.ErrorIs(t, err, peernet.ErrRefused)
		require.ErrorContains(t, err, why)
		require.ErrorIs(t, talk(t, b, a, "a"), peernet.ErrRefused)
		require.NotEmpty(t, a.Refusals())
		require.NotEmpty(t, b.Refusals())
	}
	refused("wiped", identity(w.f, "b", 9, 1))
	again := w.join(identity(w.f, "b", 2, 5))
	require.NoError(t, talk(t, a, again, "b"))
	require.NoError(t, again.Close())
	refused("earlier state", identity(w.f, "b", 2, 4))
	// Put back to its fourth start, and then started once more, twice more, …
	other := identity(w.f, "b", 2, 4)
	for range len(other.Marks) {
		other.Starts++
		other.Marks = other.Marks.Next()
		if other.Starts < 8 || other.Starts == 4+uint64(len(other.Marks)) {
			refused("does not know of its own start 5", other)
		}
	}
	refused("log key", identity(w.f, "b", 2, 6), func(c *peernet.Config) { c.Key = testkit.Keys("c").Log })
	// Another group's name is refused by the certificate already.
	id := identity(w.f, "b", 2, 6)
	id.Group = "other"
	stranger := w.join(id)
	defer stranger.Close()
	require.Error(t, talk(t, a, stranger, "b"))
	require.Error(t, talk(t, stranger, a, "a"))
}

// Bytes of strangers do no harm, and nobody without a certificate gets further
// than the handshake.
func TestStrangers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	w := newWorld(t)
	a := w.join(identity(w.f, "a", 1, 1))
	defer a.Close()
	for _, b := range [][]byte{nil, []byte("GET / HTTP/1.0\r\n\r\n"), bytes.Repeat([]byte{0x16, 3, 1, 255}, 5000)} {
		c, err := net.Dial("tcp", w.peers["a"])
		require.NoError(t, err)
		c.Write(b)
		c.Close()
	}
	other := newWorld(t) // another authority
	other.peers = w.peers
	b := other.join(identity(w.f, "b", 2, 1))
	defer b.Close()
	require.Error(t, talk(t, b, a, "a"))
}

func TestSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := testkit.Founding(3)
		s := peernet.NewSwitch()
		mem := durable.NewMem()
		join := func(m string, store byte, starts uint64) peernet.Network {
			n, err := s.Network(identity(f, m, store, starts), testkit.Keys(m).Log, f.Roster, mem.Sub(m))
			require.NoError(t, err)
			return n
		}
		a, b := join("a", 1, 1), join("b", 2, 3)
		require.NoError(t, talk(t, a, b, "b"))
		s.Isolate("b", "a")
		require.Error(t, talk(t, a, b, "b"))
		s.Heal()
		require.NoError(t, talk(t, a, b, "b"))
		b.Close()
		require.Error(t, talk(t, a, b, "b"))
		b = join("b", 2, 2)
		require.ErrorIs(t, talk(t, a, b, "b"), peernet.ErrRefused)
		b.Close()
		a.Close()
	})
}

// Raft runs over the network and elects; heartbeats have no way around the main loop.
func TestRaftOverSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := testkit.Founding(3)
		s := peernet.NewSwitch()
		var nodes []*raft.Raft
		var nets []peernet.Network
		var conf raft.Configuration
		for _, m := range testkit.Names(3) {
			conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(m), Address: raft.ServerAddress(m)})
		}
		var trs []raft.Transport
		for i, m := range testkit.Names(3) {
			n, err := s.Network(identity(f, m, byte(i), 1), testkit.Keys(m).Log, f.Roster, durable.NewMem().Sub("x"))
			require.NoError(t, err)
			c := raft.DefaultConfig()
			c.LocalID, c.Logger = raft.ServerID(m), hclog.NewNullLogger()
			store := raft.NewInmemStore()
			tr := peernet.NewTransport(n, m, nil, 5*time.Second, hclog.NewNullLogger())
			require.NoError(t, raft.BootstrapCluster(c, store, store, raft.NewInmemSnapshotStore(), tr, conf))
			r, err := raft.NewRaft(c, &raft.MockFSM{}, store, store, raft.NewInmemSnapshotStore(), tr)
			require.NoError(t, err)
			nodes, nets, trs = append(nodes, r), append(nets, n), append(trs, tr)
		}
		for round := range 5 {
			var leader *raft.Raft
			for leader == nil {
				time.Sleep(10 * time.Millisecond)
				for _, n := range nodes {
					if n.State() == raft.Leader && n.VerifyLeader().Error() == nil {
						leader = n
					}
				}
			}
			require.NoError(t, leader.Apply(fmt.Appendf(nil, "%d", round), time.Second).Error())
			_, id := leader.LeaderWithID()
			s.Isolate(string(id), testkit.Names(3)...)
			time.Sleep(10 * time.Second)
			s.Heal()
		}
		for i := range nodes {
			require.NoError(t, nodes[i].Shutdown().Error())
			trs[i].(raft.WithClose).Close()
			nets[i].Close()
		}
	})
}

// A member that comes back is reached by the first request after it: dead
// connections are not used again, and one is ready.
func TestFirstRequestAfterARestart(t *testing.T) {
	w := newWorld(t)
	counted := func(c *peernet.Config) { c.Traffic = new(peernet.Traffic) } // as in a member
	serve := func(starts uint64) (stop func()) {
		n := w.join(identity(w.f, "b", 2, starts), counted)
		tr := peernet.NewTransport(n, "b", nil, 5*time.Second, hclog.NewNullLogger())
		go func() {
			for rpc := range tr.Consumer() {
				rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
			}
		}()
		return func() { n.Close(); tr.Close() }
	}
	stop := serve(1)
	na := w.join(identity(w.f, "a", 1, 1), counted)
	defer na.Close()
	a := peernet.NewTransport(na, "a", []string{"b"}, 5*time.Second, hclog.NewNullLogger())
	defer a.Close()
	for starts := uint64(2); starts < 8; starts++ {
		var resp raft.RequestVoteResponse
		require.NoError(t, a.RequestVote("b", "b", &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}, &resp))
		require.True(t, resp.Granted)
		stop()
		stop = serve(starts)
	}
	stop()
}
