package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDoor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &door{Listener: l, max: 3, log: slog.New(slog.DiscardHandler)}
	working, end := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/work", func(http.ResponseWriter, *http.Request) { working <- struct{}{}; <-end })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	server := &http.Server{Handler: mux, ConnState: d.state}
	go server.Serve(d)
	t.Cleanup(func() { server.Close() })

	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	call := func(c net.Conn, path string) error {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err
	}
	ended := func(c net.Conn) {
		t.Helper()
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err)
		ne, ok := err.(net.Error)
		require.False(t, ok && ne.Timeout(), "it is held")
	}
	work := func() net.Conn {
		c := dial()
		fmt.Fprintf(c, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
		<-working
		return c
	}

	waiting := func(n int) { // the server notes the end of a request after its answer
		t.Helper()
		require.Eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.waiting.Len() == n }, time.Minute, time.Millisecond)
	}

	worker, quiet, used := work(), dial(), dial()
	waiting(2)
	require.NoError(t, call(used, "/"))
	waiting(2)
	require.NoError(t, call(dial(), "/"), "one more")
	ended(quiet) // who has waited longest
	require.NoError(t, call(used, "/"), "who was served once is still there")

	for n := 2; n > 0; n-- { // the others' places
		waiting(n)
		work()
	}
	refused := dial()
	ended(refused)
	close(end)
	_, err = http.ReadResponse(bufio.NewReader(worker), nil)
	require.NoError(t, err, "who is at work is left alone")
	waiting(3)
	for range 50 { // places are given back
		c := dial()
		require.NoError(t, call(c, "/"))
		c.Close()
		require.Eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.inside < d.max || d.waiting.Len() > 0 }, time.Minute, time.Millisecond)
	}
	require.Eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.inside <= 3 && d.waiting.Len() <= d.inside }, time.Minute, time.Millisecond)
	require.Positive(t, callers())
}
