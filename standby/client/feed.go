package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// feed is the body of a request that grows while it is sent.
type feed struct {
	mu    sync.Mutex
	grown sync.Cond
	buf   bytes.Buffer
	wrote int64 // bytes put in
	taken int64 // bytes that left
	ended bool
}

func newFeed() *feed {
	f := new(feed)
	f.grown.L = &f.mu
	return f
}

// put appends a line and gives the position of its first byte.
func (f *feed) put(ev *standby.Event) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.wrote
	line := wire.AppendEvent(f.buf.AvailableBuffer(), ev)
	f.buf.Write(line)
	f.wrote += int64(len(line))
	f.grown.Broadcast()
	return at
}

// Read blocks until there is something to send.
func (f *feed) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.buf.Len() == 0 && !f.ended {
		f.grown.Wait()
	}
	if f.buf.Len() == 0 {
		return 0, io.EOF
	}
	n, err := f.buf.Read(p)
	f.taken += int64(n)
	return n, err
}

// end ends the body and says how far it was handed out to be sent. What did
// not leave by then never does.
func (f *feed) end() (left int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.buf.Reset()
	f.grown.Broadcast()
	return f.taken
}

// Close ends the body, for net/http.
func (f *feed) Close() error {
	f.end()
	return nil
}

// stream is one connection that carries events to a member and their outcomes back.
type stream struct {
	member  int
	feed    *feed
	results chan standby.Result
	err     error // why it ended; to be read once results is closed
	cancel  context.CancelFunc
}

func (c *Client) openStream(ctx context.Context, member int) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{member: member, feed: newFeed(), results: make(chan standby.Result, 64), cancel: cancel}
	c.wg.Go(func() {
		defer close(s.results)
		defer s.feed.Close()
		defer cancel()
		s.err = c.carry(ctx, s)
	})
	return s
}

// carry runs the request. It returns when the connection has ended.
func (c *Client) carry(ctx context.Context, s *stream) error {
	req, err := c.request(ctx, http.MethodPost, s.member, "/v1/events", s.feed)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", wire.NDJSON)
	// net/http waits for the body's end before it tells that the connection is
	// gone; so the body ends with the connection.
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if w := watchedOf(i.Conn); w != nil {
			stop := context.AfterFunc(w.gone, func() { s.feed.Close() })
			context.AfterFunc(ctx, func() { stop() })
		}
	}}
	resp, err := c.http.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return problemOf(resp)
	}
	lines := wire.NewLines(resp.Body, wire.MaxResultLine)
	for {
		line, whole, err := lines.Next()
		if err == nil && !whole {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.cfg.Members[s.member], err)
		}
		r, err := wire.ParseResult(line)
		if err != nil {
			return err
		}
		select {
		case s.results <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watchedConn tells when it was closed.
type watchedConn struct {
	net.Conn
	gone   context.Context
	closed context.CancelFunc
}

func watch(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w := &watchedConn{Conn: c}
		w.gone, w.closed = context.WithCancel(context.Background())
		return w, nil
	}
}

func (w *watchedConn) Close() error {
	w.closed()
	return w.Conn.Close()
}

func watchedOf(c net.Conn) *watchedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	w, _ := c.(*watchedConn)
	return w
}
