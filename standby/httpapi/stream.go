package httpapi

import (
	"net/http"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/standby"
)

// stream is an answer that is written piece by piece, by the call and by its
// heartbeat.
type stream struct {
	places chan struct{}
	mu     sync.Mutex
	w      http.ResponseWriter
	rc     *http.ResponseController
	begun  bool
	quiet  bool // nothing was written since the last beat
	err    error
	stop   chan struct{}
	wg     sync.WaitGroup
}

// open takes one of the places. The caller closes the stream.
func open(places chan struct{}, w http.ResponseWriter, contentType string) (*stream, error) {
	select {
	case places <- struct{}{}:
	default:
		return nil, &standby.BusyError{RetryAfter: time.Second, Reason: "as many streams as this member serves are open"}
	}
	w.Header().Set("Content-Type", contentType)
	return &stream{places: places, w: w, rc: http.NewResponseController(w), stop: make(chan struct{})}, nil
}

// close gives the place back. The connection may serve other calls after it.
func (s *stream) close() {
	close(s.stop)
	s.wg.Wait()
	<-s.places
}

// write writes b; with flush it also leaves the buffers.
func (s *stream) write(b []byte, flush bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(b, flush)
}

func (s *stream) put(b []byte, flush bool) error {
	if s.err != nil {
		return s.err
	}
	s.begun, s.quiet = true, false
	if len(b) > 0 {
		_, s.err = s.w.Write(b)
	}
	if s.err == nil && flush {
		s.err = s.rc.Flush()
	}
	return s.err
}

// beat writes an empty line whenever nothing else was written for a while, so
// that both sides notice a dead connection. The first one is not before the
// stream has begun.
func (s *stream) beat(every time.Duration, ended func(error)) {
	s.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.stop:
				return
			}
			s.mu.Lock()
			if s.begun && s.quiet {
				s.put([]byte("\n"), true)
			}
			s.quiet = true
			err := s.err
			s.mu.Unlock()
			if err != nil {
				ended(err)
				return
			}
		}
	})
}

// fail tells of an error: as the answer if nothing was written, else as a line.
func (s *stream) fail(a *api, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		a.fail(s.w, err)
		return
	}
	s.put(problemLine(err), true)
}
