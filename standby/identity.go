package standby

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/internal/raftstore"
)

// identityFile names the store: its random id, how often it was started, and a
// random mark of each of the newest starts. All go into the peer handshake,
// where the other members remember them, so that a wiped or rolled-back disk
// cannot vote under its old name.
const identityFile = "identity"

const identitySize = 16 + 8 + len(peernet.Marks{})*8

// identity reads the store's identity, or makes one for an empty directory,
// and counts this start, durably, before anything else is done.
func (g *Group) identity() (peernet.Identity, error) {
	id := peernet.Identity{Group: g.cfg.Founding.Group, Origin: g.cfg.Founding.Origin(), Member: g.cfg.Member}
	data, err := durable.ReadSealed(g.fs, identityFile, int64(identitySize))
	switch {
	case errors.Is(err, os.ErrNotExist):
		names, err := g.fs.List(".")
		if err != nil {
			return id, err
		}
		if names, err = removeLeftovers(g.fs, names); err != nil {
			return id, err
		}
		if len(names) > 0 {
			return id, fmt.Errorf("data directory %s holds %q but no %s file: restore the whole directory, or empty it and have the operator rejoin this member", g.cfg.Dir, names[0], identityFile)
		}
		if _, err := rand.Read(id.StoreID[:]); err != nil {
			return id, err
		}
	case err != nil:
		return id, fmt.Errorf("data directory %s: %w: this member's disk is damaged; restore it or rejoin the member with an empty one", g.cfg.Dir, err)
	case len(data) != identitySize:
		return id, fmt.Errorf("data directory %s: the %s file has %d bytes, %d are right", g.cfg.Dir, identityFile, len(data), identitySize)
	default:
		copy(id.StoreID[:], data)
		id.Starts = binary.BigEndian.Uint64(data[16:])
		for i := range id.Marks {
			copy(id.Marks[i][:], data[24+8*i:])
		}
	}
	id.Starts++
	id.Marks = id.Marks.Next()
	data = binary.BigEndian.AppendUint64(id.StoreID[:], id.Starts)
	for _, m := range id.Marks {
		data = append(data, m[:]...)
	}
	return id, durable.WriteSealed(g.fs, identityFile, data)
}

// removeLeftovers removes what a kill left of the very first identity, which
// nobody has seen, and returns the other names but the lock's.
func removeLeftovers(fs durable.FS, names []string) (rest []string, err error) {
	for _, n := range names {
		switch {
		case n == durable.LockFile:
		case !strings.HasPrefix(n, identityFile+".tmp"):
			rest = append(rest, n)
		default:
			if err := fs.Remove(n); err != nil {
				return nil, err
			}
		}
	}
	return rest, nil
}

func (g *Group) openStores(ctx context.Context) (*raftstore.Stores, error) {
	o := raftstore.Options{
		Store:  raftstore.Kind(g.cfg.Store),
		Logger: g.log, Syncs: &g.syncs, Written: &g.written, WarnAfter: g.cfg.StallTimeout / 2, FatalAfter: 5 * g.cfg.StallTimeout,
		OnFatal: func(err error) { g.fail(fmt.Errorf("the raft store failed: %w", err)) },
	}
	if g.cfg.Faults != nil {
		o.Gate = g.cfg.Faults.Write
	}
	if g.cfg.Env != nil {
		return g.cfg.Env.Stores(o)
	}
	return raftstore.Open(filepath.Join(g.cfg.Dir, "raft"), o)
}

// bootstrap seeds Raft from the founding record at the very first start, which
// the bootstrap mark allows once. The mark is burnt afterwards.
func (g *Group) bootstrap(s *raftstore.Stores) error {
	has, err := raft.HasExistingState(s.Log, s.Stable, s.Snapshots)
	if err != nil {
		return fmt.Errorf("raft store: %w", err)
	}
	mark := g.cfg.BootstrapMark
	marked := mark != "" && fileExists(mark) || g.cfg.Env != nil && g.id.Starts == 1
	if !has {
		if !marked {
			return fmt.Errorf("data directory %s is empty and the bootstrap mark is used up: this is a wiped disk, which must not vote under its old name; rejoin the member", g.cfg.Dir)
		}
		if err := raft.BootstrapCluster(g.raftConfig(), s.Log, s.Stable, s.Snapshots, nil, g.servers()); err != nil {
			return fmt.Errorf("raft bootstrap: %w", err)
		}
	} else if marked {
		if err := g.finishBootstrap(s); err != nil {
			return fmt.Errorf("raft bootstrap: %w", err)
		}
	}
	if mark != "" && fileExists(mark) {
		if err := os.Remove(mark); err != nil {
			return fmt.Errorf("bootstrap mark: %w", err)
		}
		return durable.OS(filepath.Dir(mark)).SyncDir(".")
	}
	return nil
}

// finishBootstrap writes the configuration if a kill came between the two writes
// of raft.BootstrapCluster: the term is 1, nobody was voted for, and nothing is
// in the log. A log that is empty in another way was lost.
func (g *Group) finishBootstrap(s *raftstore.Stores) error {
	last, err := s.Log.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	if snapshots, err := s.Snapshots.List(); err != nil || len(snapshots) > 0 {
		return err
	}
	term, err := s.Stable.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return err
	}
	if vote, _ := s.Stable.GetUint64([]byte("LastVoteTerm")); term != 1 || vote > 0 {
		return fmt.Errorf("data directory %s knows of term %d and of a vote in term %d, and its raft log is empty: restore the whole directory, or rejoin the member with an empty one", g.cfg.Dir, term, vote)
	}
	return s.Log.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(g.servers())})
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// listen joins the peer network.
func (g *Group) listen() (peernet.Network, error) {
	memory := g.fs.Sub("peers")
	if err := memory.MkdirAll("."); err != nil {
		return nil, err
	}
	if g.cfg.Env != nil {
		return g.cfg.Env.Network(g.id, memory, g.log)
	}
	tls, err := pki.LoadMember(g.cfg.TLSDir)
	if err != nil {
		return nil, err
	}
	return peernet.Listen(peernet.Config{
		Identity: g.id, Roster: g.cfg.Founding.Roster, Key: g.cfg.Keys.Log,
		Listen: g.cfg.Listen, Peers: g.cfg.Peers, TLS: tls, Memory: memory, Logger: g.log, Traffic: &g.traffic,
	})
}
