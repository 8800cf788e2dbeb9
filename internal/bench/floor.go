package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/internal/raftstore"
	"github.com/understudy-ha/understudy/standby"
)

// What a floor is: the product's Raft with nothing on top of it. Each is also
// the name of its results.
const (
	Single = "raft"        // one entry for each call
	Packed = "raft-packed" // calls that wait together share an entry
	Stock  = "raft-stock"  // library defaults on plain TCP and bare raft-boltdb, for comparison only
)

const product = "understudy"

// floor is one member of a bare Raft group: a state machine that does nothing.
type floor struct {
	raft    *raft.Raft
	trans   raft.Transport
	packer  *packer // nil: each call is an entry
	net     peernet.Network
	stores  interface{ Close() error }
	traffic peernet.Traffic
	syncs   atomic.Uint64
	written atomic.Uint64
}

// openFloor starts a member. cfg is that of the product's member in its place.
func openFloor(kind string, cfg *standby.Config) (_ *floor, err error) {
	f := new(floor)
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var logs raft.LogStore
	var stable raft.StableStore
	var snaps raft.SnapshotStore
	conf, servers := productRaft(cfg), raft.Configuration{}
	for _, m := range cfg.Founding.Roster.Members {
		addr := m.Name
		if kind == Stock {
			addr = cfg.Peers[m.Name]
		}
		servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(m.Name), Address: raft.ServerAddress(addr)})
	}
	switch kind {
	case Stock:
		conf = raft.DefaultConfig()
		conf.LocalID, conf.Logger = raft.ServerID(cfg.Member), hclog.NewNullLogger()
		db, err := raftboltdb.NewBoltStore(filepath.Join(cfg.Dir, "raft.db"))
		if err != nil {
			return nil, err
		}
		f.stores, logs, stable = db, db, db
		if snaps, err = raft.NewFileSnapshotStoreWithLogger(cfg.Dir, 2, conf.Logger); err != nil {
			return nil, err
		}
		if f.trans, err = raft.NewTCPTransportWithLogger(cfg.Listen, nil, 3, 10*time.Second, conf.Logger); err != nil {
			return nil, err
		}
	case Single, Packed:
		s, err := raftstore.Open(filepath.Join(cfg.Dir, "raft"), raftstore.Options{Store: raftstore.Kind(cfg.Store), Syncs: &f.syncs, Written: &f.written})
		if err != nil {
			return nil, err
		}
		f.stores, logs, stable, snaps = s, s.Log, s.Stable, s.Snapshots
		if f.net, err = f.join(cfg); err != nil {
			return nil, err
		}
		f.trans = peernet.NewTransport(f.net, cfg.Member, nil, 5*time.Second, conf.Logger)
	default:
		return nil, fmt.Errorf("no floor is called %.20q", kind)
	}
	if err := raft.BootstrapCluster(conf, logs, stable, snaps, nil, servers); err != nil {
		return nil, err
	}
	if f.raft, err = raft.NewRaft(conf, nothing{}, logs, stable, snaps, f.trans); err != nil {
		return nil, err
	}
	if kind == Packed {
		f.packer = newPacker(f.raft)
	}
	return f, nil
}

// productRaft is how the product sets Raft: see raftConfig in package standby,
// with the defaults of its configuration.
func productRaft(cfg *standby.Config) *raft.Config {
	c := raftstore.Config(cfg.Member)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Second, time.Second, 500*time.Millisecond
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = 10*time.Second, 8192, 10_240
	c.Logger = hclog.NewNullLogger()
	return c
}

// join connects to the others as the product does.
func (f *floor) join(cfg *standby.Config) (peernet.Network, error) {
	id := peernet.Identity{Group: cfg.Founding.Group, Origin: cfg.Founding.Origin(), Member: cfg.Member, Starts: 1}
	if _, err := rand.Read(id.StoreID[:]); err != nil {
		return nil, err
	}
	tls, err := pki.LoadMember(cfg.TLSDir)
	if err != nil {
		return nil, err
	}
	memory := durable.OS(filepath.Join(cfg.Dir, "peers"))
	if err := memory.MkdirAll("."); err != nil {
		return nil, err
	}
	return peernet.Listen(peernet.Config{
		Identity: id, Roster: cfg.Founding.Roster, Key: cfg.Keys.Log, Listen: cfg.Listen, Peers: cfg.Peers,
		TLS: tls, Memory: memory, Traffic: &f.traffic,
	})
}

// call commits a batch.
func (f *floor) call(ctx context.Context, batch [][]byte) error {
	if f.packer != nil {
		return f.packer.call(ctx, batch)
	}
	return f.raft.Apply(encode(batch), callTime).Error()
}

func (f *floor) leads() bool { return f.raft.State() == raft.Leader }

// counted is what the kernel does not tell, or not as it is.
func (f *floor) counted() usage {
	return usage{written: f.written.Load(), sent: f.traffic.Sent.Load(), syncs: f.syncs.Load()}
}

func (f *floor) close() error {
	var errs []error
	if f.packer != nil {
		f.packer.close()
	}
	if f.raft != nil {
		errs = append(errs, f.raft.Shutdown().Error())
	}
	if c, ok := f.trans.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	if f.net != nil {
		errs = append(errs, f.net.Close())
	}
	if f.stores != nil {
		errs = append(errs, f.stores.Close())
	}
	return errors.Join(errs...)
}

// encode makes one entry of a batch, as small as it can be.
func encode(batch [][]byte) []byte {
	n := 0
	for _, b := range batch {
		n += 4 + len(b)
	}
	return appendBatch(make([]byte, 0, n), batch)
}

// nothing is a state machine without a state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                  { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error)  { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error        { return r.Close() }
func (nothing) Persist(sink raft.SnapshotSink) error { return sink.Close() }
func (nothing) Release()                             {}
