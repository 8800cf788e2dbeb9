package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// switchboard is a network of its own for each member, on one bridge with this
// process. What is cut here is silent: the kernels tell nobody.
type switchboard struct {
	t     *testing.T
	base  string // of all names
	net   string // the first bytes of the addresses
	hosts []string
}

// newSwitchboard makes it, if this process may and ip is there.
func newSwitchboard(t *testing.T) *switchboard {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a network for each member takes root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip(err)
	}
	removeStale()
	b := &switchboard{t: t, base: fmt.Sprintf("ud%d", os.Getpid()), net: fmt.Sprintf("198.18.%d", os.Getpid()%250)} // for tests of networks, by RFC 2544
	if out, err := exec.Command("ip", "link", "add", b.base+"br", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("no bridge: %v %s", err, out)
	}
	t.Cleanup(func() { remove(b.base) }) // after the members have ended
	b.ip("addr", "add", b.net+".1/24", "dev", b.base+"br")
	b.ip("link", "set", b.base+"br", "up")
	for i, name := range []string{"a", "b", "c"} {
		line, host := b.base+name, fmt.Sprintf("%s.%d", b.net, 11+i)
		if out, err := exec.Command("ip", "netns", "add", line).CombinedOutput(); err != nil {
			t.Skipf("no network namespace: %v %s", err, out)
		}
		b.ip("link", "add", line, "type", "veth", "peer", "name", "eth0", "netns", line)
		b.ip("link", "set", line, "master", b.base+"br")
		b.ip("link", "set", line, "up")
		b.ip("-n", line, "addr", "add", host+"/24", "dev", "eth0")
		b.ip("-n", line, "link", "set", "eth0", "up")
		b.ip("-n", line, "link", "set", "lo", "up")
		b.hosts = append(b.hosts, host)
	}
	return b
}

func (b *switchboard) ip(args ...string) {
	b.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoErrorf(b.t, err, "ip %s: %s", strings.Join(args, " "), out)
}

// remove takes down whatever there is under a name. The lines go with their namespaces.
func remove(base string) {
	for _, name := range []string{"a", "b", "c"} {
		exec.Command("ip", "link", "del", base+name).Run()
		exec.Command("ip", "netns", "del", base+name).Run()
	}
	exec.Command("ip", "link", "del", base+"br").Run()
}

// removeStale takes down what a run left that could not clean up.
func removeStale() {
	links, _ := os.ReadDir("/sys/class/net")
	for _, l := range links {
		if pid, ok := strings.CutPrefix(strings.TrimSuffix(l.Name(), "br"), "ud"); ok && strings.HasSuffix(l.Name(), "br") {
			if _, err := strconv.Atoi(pid); err == nil {
				if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
					remove("ud" + pid)
				}
			}
		}
	}
}

// enclose has each member run in its own network.
func (b *switchboard) enclose(s *stage) {
	for _, m := range s.members {
		m.Args = append([]string{"netns", "exec", b.base + m.name, m.Program}, m.Args...)
		m.Program = "ip"
	}
}

// unplug takes a member off the bridge, or puts it back.
func (b *switchboard) unplug(m *member, off bool) {
	b.t.Helper()
	b.ip("link", "set", b.base+m.name, map[bool]string{true: "down", false: "up"}[off])
}

// apart keeps members from hearing each other; this process hears all of them,
// and they hear who is not kept apart.
func (b *switchboard) apart(on bool, ms ...*member) {
	b.t.Helper()
	for _, m := range ms {
		b.ip("link", "set", b.base+m.name, "type", "bridge_slave", "isolated", map[bool]string{true: "on", false: "off"}[on])
	}
}

// Members on networks of their own are cut off as by a pulled cable: nothing is
// reset, nothing is refused, also not where the cut-off side listens.
func TestPulledCables(t *testing.T) {
	slow(t)
	b := newSwitchboard(t)
	s := newStage(t, plan{daemon: "kv", events: 5000, hosts: b.hosts, before: b.enclose, flags: []string{"--insecure", "--api-cert=", "--api-key=", "--api-tokens="}})
	for range 2 {
		s.busy(800)
		m, st := s.active()
		b.unplug(m, true)
		s.allow(1000)
		s.after(st.Term)
		s.serves(300)
		b.unplug(m, false)
		s.healthy()

		// The active does not reach one standby, which reaches the third member.
		m, _ = s.active()
		b.apart(true, m, s.standby())
		s.serves(300)
		b.apart(false, s.members...)
		s.healthy()
	}
	// Nobody reaches anybody, and this process everybody: nothing is acknowledged.
	b.apart(true, s.members...)
	s.await("waiting for the active to give up", func(ctx context.Context) error {
		if m, _, err := s.find(ctx, 0); err == nil {
			return fmt.Errorf("%s is active alone", m.name)
		}
		return nil
	})
	for _, m := range s.members {
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second) // it may look for an active
		_, err := post(ctx, m.url, event("lonely-"+m.name, 1, "put k v"))
		cancel()
		require.Error(t, err, "a member on its own acknowledges")
	}
	b.apart(false, s.members...)
	s.healthy()
	var others []sent
	for _, m := range s.members { // one that was on its way to another may have arrived since
		others = append(others, s.settle(evs(event("lonely-"+m.name, 1, "put k v")))...)
	}
	s.finish(others...)
}
