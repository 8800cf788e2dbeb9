package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// plain speaks to one member without any of the client's cleverness.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func event(producer string, n uint64, payload string) standby.Event {
	return standby.Event{Producer: producer, Sequence: n, Payload: []byte(payload)}
}

// batch sends events to one member. Every event gets its outcome; the error is
// that of the call.
func batch(ctx context.Context, url string, evs []standby.Event) ([]standby.Result, error) {
	var body []byte
	for i := range evs {
		body = wire.AppendEvent(body, &evs[i])
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", wire.NDJSON)
	resp, err := plain.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return results(resp, len(evs))
}

// results reads the outcomes of n events, as many as come.
func results(resp *http.Response, n int) ([]standby.Result, error) {
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return nil, errors.Join(fmt.Errorf("%s: %s", resp.Status, text), err)
	}
	var out []standby.Result
	lines := wire.NewLines(resp.Body, wire.MaxResultLine)
	for len(out) < n {
		line, whole, err := lines.Next()
		if err == nil && !whole {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return out, err
		}
		r, err := wire.ParseResult(line)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

// post sends one event to one member.
func post(ctx context.Context, url string, ev standby.Event) (standby.Receipt, error) {
	res, err := batch(ctx, url, []standby.Event{ev})
	if err != nil {
		return standby.Receipt{}, err
	}
	return res[0].Receipt, res[0].Err
}

// settle sends a producer's events, in order from its first, until each has
// its receipt.
func (s *stage) settle(evs []standby.Event) []sent {
	s.t.Helper()
	out := make([]sent, len(evs))
	s.await("settling "+evs[0].Producer, func(ctx context.Context) error {
		active, _, err := s.find(ctx, 0)
		if err != nil {
			return err
		}
		res, err := batch(ctx, active.url, evs)
		if err != nil {
			return err
		}
		for i := range res {
			if res[i].Err != nil {
				return res[i].Err
			}
			out[i] = sent{evs[i], res[i].Receipt}
		}
		return nil
	})
	return out
}

// pipe is a call to one member that is written and read by hand.
type pipe struct {
	net.Conn
	in *bufio.Reader
}

// dial opens a call for events whose body grows.
func dial(ctx context.Context, url string) (*pipe, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", strings.TrimPrefix(url, "http://"), wire.NDJSON)
	return &pipe{c, bufio.NewReader(c)}, err
}

// send writes a part of the body.
func (p *pipe) send(b []byte) error {
	p.SetWriteDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(p, "%x\r\n%s\r\n", len(b), b)
	return err
}

// answered waits for the first byte of the answer.
func (p *pipe) answered() error {
	p.SetReadDeadline(time.Now().Add(patience))
	_, err := p.in.Peek(1)
	return err
}

// end closes the body and reads the outcomes of at most n events. Whatever
// breaks off has told nothing of the events without an outcome.
func (p *pipe) end(n int) []standby.Result {
	defer p.Close()
	p.SetDeadline(time.Now().Add(patience))
	io.WriteString(p, "0\r\n\r\n")
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return nil
	}
	res, _ := results(resp, n)
	return res
}
