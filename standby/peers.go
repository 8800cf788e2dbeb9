package standby

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/poison"
)

// position is what one member tells another about itself. It travels as JSON
// over the authenticated peer connection.
type position struct {
	Member     string     `json:"member"`
	Role       Role       `json:"role"`
	Phase      string     `json:"phase,omitempty"`
	Term       uint64     `json:"term"`
	Seq        uint64     `json:"seq"`
	Head       chain.Hash `json:"head"`
	At         chain.Hash `json:"at"` // hash of the link at the seq that was asked for, once reached
	Applied    uint64     `json:"applied"`
	Restored   uint64     `json:"restored"`  // covered seq of the restored checkpoint
	HostInput  uint64     `json:"host_seq"`  // position of the standby's daemon
	SealTime   int64      `json:"seal_time"` // unix ns of the newest checkpoint restored here
	Eligible   bool       `json:"eligible"`
	Reason     string     `json:"reason,omitempty"`
	Health     string     `json:"health"`
	Saturation float64    `json:"saturation"`
	Version    string     `json:"version"`
	Now        int64      `json:"now"`

	// Of its newest promotion: the term, and the phases' times in ms.
	Promotion uint64             `json:"promotion,omitempty"`
	Phases    map[string]float64 `json:"phases_ms,omitempty"`

	// Deaths are the events in which this member's processes died.
	Deaths []poison.Death `json:"deaths,omitempty"`
}

// Bounds of what is taken from another member.
const (
	maxPeerJSON     = 1 << 20
	maxPeerManifest = 64 << 20
	maxPeerBatch    = 1024 // links or outputs asked for at a time
)

// peers calls the other members over the peer network.
type peers struct {
	self    string
	net     peernet.Network
	httpc   *http.Client
	forward *http.Transport // of clients' calls, which may be many and slow
}

func newPeers(self string, n peernet.Network) *peers {
	p := &peers{self: self, net: n}
	p.httpc, p.forward = &http.Client{Transport: p.transport()}, p.transport()
	return p
}

// transport is an HTTP transport whose hosts are member names.
func (p *peers) transport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			member, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return p.net.Dial(ctx, member, "rpc")
		},
		MaxIdleConnsPerHost:   2 * fetchers,
		MaxConnsPerHost:       48,
		IdleConnTimeout:       2 * time.Minute,
		ResponseHeaderTimeout: 2 * time.Minute,
		DisableCompression:    true,
	}
}

func (p *peers) close() {
	p.httpc.CloseIdleConnections()
	p.forward.CloseIdleConnections()
}

// patience bounds a call that asks for what is there: a member that is cut off
// must not hold up what another one can answer.
const patience = 5 * time.Second

// Bounds of a fetch. Its answer begins in less time than a promotion may stand
// still: that can then still ask another member than the frozen one.
const (
	fetchBegin   = 3 * time.Second
	fetchSilence = 30 * time.Second // once it has begun
	fetchTime    = 10 * time.Minute
)

// call makes one request and returns at most max bytes of its answer.
func (p *peers) call(ctx context.Context, member, method, path string, body []byte, max int64) ([]byte, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	return p.exchange(ctx, member, method, path, body, max, func() {})
}

// fetch asks for what is large. A slow line gets the time it needs, as long as
// pieces come; moved is called with each.
func (p *peers) fetch(ctx context.Context, member, path string, max int64, moved func()) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	silence := time.AfterFunc(fetchBegin, func() { end(errSilent) })
	defer silence.Stop()
	data, err := p.exchange(ctx, member, http.MethodGet, path, nil, max, func() {
		silence.Reset(fetchSilence)
		moved()
	})
	if err != nil && context.Cause(ctx) == errSilent {
		err = fmt.Errorf("member %s: %w", member, errSilent)
	}
	return data, err
}

var errSilent = errors.New("it began no answer in time, or did not go on with one")

// exchange is call within its context's bounds; heard is called with each piece
// of the answer.
func (p *peers) exchange(ctx context.Context, member, method, path string, body []byte, max int64, heard func()) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+member+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := p.httpc.Do(req)
	if err != nil {
		return nil, fmt.Errorf("member %s: %w", member, err)
	}
	defer resp.Body.Close()
	heard()
	var data bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= max {
		data.Grow(int(n) + bytes.MinRead) // a chunk in one piece of memory
	}
	if _, err := data.ReadFrom(io.LimitReader(heardReader{resp.Body, heard}, max+1)); err != nil {
		return nil, fmt.Errorf("member %s: %w", member, err)
	}
	switch {
	case int64(data.Len()) > max:
		return nil, fmt.Errorf("member %s answers %s with more than %d bytes", member, path, max)
	case resp.StatusCode == http.StatusGone:
		oldest, _ := strconv.ParseUint(resp.Header.Get("X-Understudy-Oldest"), 10, 64)
		return nil, &PrunedError{Oldest: oldest}
	case resp.StatusCode == http.StatusMisdirectedRequest:
		return nil, &NotActiveError{}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("member %s answers %s with %s: %.200s", member, path, resp.Status, bytes.TrimSpace(data.Bytes()))
	}
	return data.Bytes(), nil
}

// heardReader tells of each piece that is read.
type heardReader struct {
	io.Reader
	heard func()
}

func (r heardReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.heard()
	return n, err
}

// position asks a member where it stands; with seq it waits up to wait until
// the member has applied that position.
func (p *peers) position(ctx context.Context, member string, seq uint64, wait time.Duration) (*position, error) {
	q := url.Values{"seq": {strconv.FormatUint(seq, 10)}, "wait_ms": {strconv.FormatInt(wait.Milliseconds(), 10)}}
	data, err := p.call(ctx, member, http.MethodGet, "/peer/position?"+q.Encode(), nil, maxPeerJSON)
	if err != nil {
		return nil, err
	}
	var pos position
	if err := errors.Join(json.Unmarshal(data, &pos), poison.Check(pos.Deaths)); err != nil {
		return nil, fmt.Errorf("member %s: %w", member, err)
	}
	return &pos, nil
}

func (p *peers) report(ctx context.Context, member string, rep *fsm.Report) error {
	_, err := p.call(ctx, member, http.MethodPost, "/peer/report", rep.Marshal(), maxPeerJSON)
	return err
}

func (p *peers) plan(ctx context.Context, member string, notice *plannedNotice) error {
	body, err := json.Marshal(notice)
	if err != nil {
		return err
	}
	_, err = p.call(ctx, member, http.MethodPost, "/peer/planned", body, maxPeerJSON)
	return err
}

func (p *peers) manifest(ctx context.Context, member string, digest chain.Hash, moved func()) ([]byte, error) {
	return p.fetch(ctx, member, "/peer/manifest/"+digest.String(), maxPeerManifest, moved)
}

func (p *peers) chunk(ctx context.Context, member string, h chain.Hash, size uint32, moved func()) ([]byte, error) {
	return p.fetch(ctx, member, "/peer/chunk/"+h.String(), int64(size), moved)
}

// archiveOf is another member's archive.
type archiveOf struct {
	p      *peers
	member string
}

func (a archiveOf) links(ctx context.Context, from, n uint64) ([]chain.Link, error) {
	data, err := a.p.call(ctx, a.member, http.MethodGet, fmt.Sprintf("/peer/links?from=%d&n=%d", from, n), nil, int64(n)*chain.LinkSize)
	if err != nil {
		return nil, err
	}
	if len(data)%chain.LinkSize != 0 {
		return nil, fmt.Errorf("member %s sent %d bytes of links", a.member, len(data))
	}
	ls := make([]chain.Link, 0, len(data)/chain.LinkSize)
	for len(data) > 0 {
		l, err := chain.ParseLink(data[:chain.LinkSize])
		if err != nil {
			return nil, fmt.Errorf("member %s: %w", a.member, err)
		}
		ls, data = append(ls, l), data[chain.LinkSize:]
	}
	return ls, nil
}

func (a archiveOf) record(ctx context.Context, seq uint64) ([]byte, error) {
	return a.p.call(ctx, a.member, http.MethodGet, fmt.Sprintf("/peer/record?seq=%d", seq), nil, maxPeerJSON)
}

func (a archiveOf) outputs(ctx context.Context, from uint64, n int) ([]chain.Output, error) {
	data, err := a.p.call(ctx, a.member, http.MethodGet, fmt.Sprintf("/peer/outputs?from=%d&n=%d", from, n), nil, maxPeerManifest)
	if err != nil {
		return nil, err
	}
	var outs []chain.Output
	if err := json.Unmarshal(data, &outs); err != nil {
		return nil, fmt.Errorf("member %s: %w", a.member, err)
	}
	if len(outs) > n {
		return nil, fmt.Errorf("member %s sent %d outputs, %d were asked for", a.member, len(outs), n)
	}
	for i := range outs {
		if outs[i].Number != from+uint64(i) {
			return nil, errors.New("member " + a.member + " sent outputs out of order")
		}
	}
	return outs, nil
}
