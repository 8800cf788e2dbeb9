// Package linear checks that a history of the kv daemon is linearizable: that
// what concurrent clients saw could have come from one daemon that did every
// operation at one moment between its call and its return. Tests use it, in
// simulation and against real processes.
//
// An operation whose outcome nobody learnt may have happened at any time after
// its call, or never.
package linear

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// History records the operations of any number of clients.
type History struct {
	mu     sync.Mutex
	began  time.Time
	ops    []porcupine.Operation
	client int // for operations without an outcome: each blocks its client for good
}

// unknown is the output of an operation whose outcome nobody learnt.
const unknown = "?"

// Call notes the call of an event ("put k v", "delete k", "cas k old new") or a
// query ("get k") by a client, 0 and up. Exactly one of the returned functions
// ends it: done with the daemon's answer, which is empty for a get of no key,
// or lost.
func (h *History) Call(client int, request string) (done func(answer string), lost func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began = time.Now()
	}
	i := len(h.ops)
	h.ops = append(h.ops, porcupine.Operation{
		ClientId: client, Input: parse(request), Call: int64(time.Since(h.began)), Output: unknown, Return: math.MaxInt64,
	})
	done = func(answer string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ops[i].Output, h.ops[i].Return = strings.TrimSuffix(answer, "\n"), int64(time.Since(h.began))
	}
	lost = func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.client++
		h.ops[i].ClientId = 1000 + h.client
	}
	return done, lost
}

// Len is how many operations were called.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// Errors of Check.
var (
	ErrIllegal = errors.New("the history is not linearizable")
	ErrNoTime  = errors.New("the history could not be checked in time: record less of it, over more keys")
)

// Check judges the history, which must be at rest. A picture of an illegal one
// is left in dir, and named by the error.
func (h *History) Check(limit time.Duration, dir string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	res, info := porcupine.CheckOperationsVerbose(model, h.ops, limit)
	switch res {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return ErrNoTime
	}
	f, err := os.CreateTemp(dir, "illegal-history-*.html")
	if err == nil {
		err = errors.Join(porcupine.Visualize(model, info, f), f.Close())
	}
	if err != nil {
		return fmt.Errorf("%w (no picture: %w)", ErrIllegal, err)
	}
	path, _ := filepath.Abs(f.Name())
	return fmt.Errorf("%w: see %s", ErrIllegal, path)
}
