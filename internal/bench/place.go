package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby"
)

// system is a running group, the product's or a floor, under load.
type system interface {
	// caller makes the caller of a number; each has its own producer or connection.
	caller(n int) (caller, error)
	usage(ctx context.Context) (usage, error) // of all members
	close() (dir string)                      // which is to be removed, if it is ours
}

// place is the directory of a group that was just founded, with the addresses
// that its members are to use.
type place struct {
	dir      string
	ports    *local.Ports
	founding *chain.Founding
	names    []string
	peers    map[string]string // for the other members
	apis     map[string]string // for the load
}

// newPlace founds a group of n members.
func newPlace(base string, n int) (_ *place, err error) {
	dir, err := os.MkdirTemp(base, "group-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	ports, err := local.ReservePorts(2 * n)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ports.Release()
		}
	}()
	p := &place{dir: dir, ports: ports, peers: make(map[string]string), apis: make(map[string]string)}
	g := found.Group{Name: "bench", Daemon: kv.Name, Settings: chain.DefaultSettings()}
	for i := range n {
		name := string(rune('a' + i))
		p.names, p.peers[name], p.apis[name] = append(p.names, name), ports.Addrs[2*i], ports.Addrs[2*i+1]
		g.Members = append(g.Members, found.Member{Name: name, Peer: p.peers[name], API: p.apis[name]})
	}
	if p.founding, err = found.Create(filepath.Join(dir, "members"), g, time.Now()); err != nil {
		return nil, err
	}
	return p, nil
}

// leave lets others have its ports. It returns its directory, which stays.
func (p *place) leave() string {
	p.ports.Release()
	return p.dir
}

func (p *place) member(name string) string { return filepath.Join(p.dir, "members", name) }
func (p *place) log(name string) string    { return filepath.Join(p.dir, name+".log") }

// kept tells where data and logs of what failed are; an interruption is no
// failure, and nothing of it is kept.
func kept(ctx context.Context, err error, dir string) error {
	switch {
	case dir == "":
		return err
	case ctx.Err() != nil:
		os.RemoveAll(dir)
		return err
	}
	return fmt.Errorf("%w (data and logs are in %s)", err, dir)
}

// config is a member's configuration as `understudy run` would make it, without
// what the environment has to say.
func (p *place) config(name string) (standby.Config, error) {
	dir := p.member(name)
	keys, err := config.LoadKeys(filepath.Join(dir, "keys"))
	if err != nil {
		return standby.Config{}, err
	}
	return standby.Config{
		Founding: p.founding, Member: name, Keys: keys, Dir: filepath.Join(dir, "data"), Listen: p.peers[name], Peers: maps.Clone(p.peers),
		TLSDir: filepath.Join(dir, "tls"), BootstrapMark: filepath.Join(dir, "bootstrap"),
	}, nil
}

// patience bounds any wait for a group.
const patience = time.Minute

var errEnded = errors.New("has ended")

// await asks until the answer is yes, or a member has ended.
func await(ctx context.Context, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %v", patience))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		try, stop := context.WithTimeout(ctx, 3*time.Second)
		err := ok(try)
		stop()
		if err == nil || errors.Is(err, errEnded) && ctx.Err() == nil { // an interrupt may have ended it
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", what, context.Cause(ctx), err)
		}
	}
}
