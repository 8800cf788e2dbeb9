package standby_test

import (
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/understudy-ha/understudy/internal/found"
)

// initGroup does what understudy init does, on free ports of loopback. It
// returns the members' directories, and what removes them.
func initGroup(group string, names ...string) (dirs []string, remove func()) {
	dir, err := os.MkdirTemp("", "understudy-example-")
	if err != nil {
		log.Fatal(err)
	}
	g := found.Group{Name: group, Daemon: "tally"}
	for i, name := range names {
		l := listen()
		defer l.Close()
		g.Members = append(g.Members, found.Member{Name: name, Peer: l.Addr().String(), API: fmt.Sprintf("127.0.0.1:%d", 7700+i)})
		dirs = append(dirs, filepath.Join(dir, "group", name))
	}
	if _, err := found.Create(filepath.Join(dir, "group"), g, time.Now()); err != nil {
		log.Fatal(err)
	}
	return dirs, func() { os.RemoveAll(dir) }
}

// listen takes a port below the range from which connections take theirs.
func listen() net.Listener {
	for {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000))); err == nil {
			return l
		}
	}
}
