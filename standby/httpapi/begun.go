package httpapi

import (
	"io"
	"net/http"
	"time"
)

// begun is an answer: it sees whether it has begun, and gives its reader some
// time for each piece, so that one who takes nothing holds nothing for ever and
// one who reads steadily is never cut off.
type begun struct {
	http.ResponseWriter
	rc      *http.ResponseController
	patient time.Duration
	idles   bool // a deadline that passes ends the stream, also while nothing is written: HTTP/2
	answer  bool
}

func newBegun(w http.ResponseWriter, r *http.Request, patient time.Duration) *begun {
	b := &begun{ResponseWriter: w, rc: http.NewResponseController(w), patient: patient, idles: r.ProtoMajor > 1}
	if !b.idles {
		b.limit() // that of the call before on this connection lies in the past
	}
	return b
}

func (b *begun) limit() { b.rc.SetWriteDeadline(time.Now().Add(b.patient)) }

func (b *begun) rest() {
	if b.idles {
		b.rc.SetWriteDeadline(time.Time{})
	}
}

// maxPiece is what a reader has the time for, in bytes.
const maxPiece = 64 << 10

func (b *begun) WriteHeader(status int) {
	b.answer = true
	b.ResponseWriter.WriteHeader(status)
}

func (b *begun) Write(p []byte) (n int, err error) {
	b.answer = true
	defer b.rest()
	for {
		b.limit()
		k, err := b.ResponseWriter.Write(p[n:min(len(p), n+maxPiece)])
		if n += k; err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError is for [http.ResponseController].
func (b *begun) FlushError() error {
	b.answer = true
	defer b.rest()
	b.limit()
	return b.rc.Flush()
}

// Unwrap is for [http.ResponseController].
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// limited is the body, of which at most max bytes are read. The connection of
// one that is longer stays for the answer to be read: net/http sees to that for
// its own ResponseWriter only.
func limited(w http.ResponseWriter, r *http.Request, max int64) io.ReadCloser {
	if b, ok := w.(*begun); ok {
		w = b.ResponseWriter
	}
	return http.MaxBytesReader(w, r.Body, max)
}
