package wire

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// Sent tells whether any byte of a request's body was handed out to be sent.
// While it was not, the other side cannot have acted on the request.
type Sent struct{ b atomic.Bool }

// Maybe reports whether the other side may have seen the request's body.
func (s *Sent) Maybe() bool { return s.b.Load() }

// NewRequest makes a request whose body is watched. Without a body Maybe stays false.
func NewRequest(ctx context.Context, method, url string, body []byte) (*http.Request, *Sent, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, nil, err
	}
	sent := new(Sent)
	if len(body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return &watched{bytes.NewReader(body), sent}, nil }
		req.Body, _ = req.GetBody()
		req.ContentLength = int64(len(body))
	}
	return req, sent, nil
}

type watched struct {
	r    *bytes.Reader
	sent *Sent
}

func (w *watched) Read(p []byte) (int, error) {
	w.sent.b.Store(true)
	return w.r.Read(p)
}

func (w *watched) Close() error { return nil }
