package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/found"
	"github.com/understudy-ha/understudy/standby/client"
)

// One member that the configuration knows is asked as the configuration says,
// another address gets nothing from it.
func TestAddressOfTheConfiguration(t *testing.T) {
	t.Setenv("UNDERSTUDY_ADDR", "")
	t.Setenv("UNDERSTUDY_TOKEN", "")
	dir := filepath.Join(t.TempDir(), "g")
	_, err := found.Create(dir, found.Group{Name: "g", Daemon: "kv", Members: []found.Member{
		{Name: "a", Peer: "10.0.0.1:7400", API: "10.0.0.1:7700"}, {Name: "b", Peer: "10.0.0.2:7400", API: "10.0.0.2:7700"},
	}}, time.Now())
	require.NoError(t, err)
	for _, c := range []struct {
		addr, member string
		known        bool
	}{
		{"10.0.0.2:7700", "https://10.0.0.2:7700", true},
		{"https://10.0.0.2:7700", "https://10.0.0.2:7700", true},
		{"http://10.0.0.2:7700", "http://10.0.0.2:7700", false},
		{"10.0.0.3:7700", "http://10.0.0.3:7700", false},
	} {
		o := options{config: filepath.Join(dir, "a", found.ConfigFile), addrs: []string{c.addr}, output: "table"}
		cfg, err := o.dial(client.Config{})
		require.NoError(t, err)
		require.Equal(t, []string{c.member}, cfg.Members)
		require.Equal(t, c.known, cfg.Token != "", c.addr)
		require.Equal(t, c.known, cfg.TLS != nil, c.addr)
	}
}

// Members that hold a connection and say nothing, as frozen ones do, keep
// nobody from those that answer, and no order ends as unknown for them.
func TestFrozenMembersAreNotWaitedFor(t *testing.T) {
	t.Setenv("UNDERSTUDY_CONFIG", "")
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/status":
			io.WriteString(w, `{"group":"g","active":"c","member":"c"}`)
		case "/v1/switchover":
			io.WriteString(w, `{"from":"c","to":"a","term":7}`)
		case "/v1/outputs":
			io.WriteString(w, "")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(func() { well.CloseClientConnections(); well.Close() })
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel answers for it
		require.NoError(t, err)
		defer l.Close()
		addrs = append(addrs, "--addr", l.Addr().String())
	}
	addrs = append(addrs, "--addr", well.URL)
	for _, command := range []string{"status", "switchover", "outputs"} {
		var out, errs bytes.Buffer
		require.Equal(t, 0, run(append([]string{command}, addrs...), nil, &out, &errs), "%s: %s%s", command, &out, &errs)
	}
}
