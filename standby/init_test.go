package standby_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/internal/local"
)

// initGroup does what understudy init does, on free ports of loopback. It
// returns the members' directories, and what removes them.
func initGroup(group string, names ...string) (dirs []string, remove func()) {
	dir, err := os.MkdirTemp("", "understudy-example-")
	if err != nil {
		log.Fatal(err)
	}
	ports, err := local.ReservePorts(len(names))
	if err != nil {
		log.Fatal(err)
	}
	g := found.Group{Name: group, Daemon: "tally"}
	for i, name := range names {
		g.Members = append(g.Members, found.Member{Name: name, Peer: ports.Addrs[i], API: fmt.Sprintf("127.0.0.1:%d", 7700+i)})
		dirs = append(dirs, filepath.Join(dir, "group", name))
	}
	if _, err := found.Create(filepath.Join(dir, "group"), g, time.Now()); err != nil {
		log.Fatal(err)
	}
	return dirs, func() { os.RemoveAll(dir); ports.Release() }
}
