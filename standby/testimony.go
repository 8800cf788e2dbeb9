package standby

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/internal/poison"
)

// testimony is what the other members said last of the events that ended their
// processes.
type testimony struct {
	some atomic.Bool // any deaths
	mu   sync.Mutex
	by   map[string]tale
}

type tale struct {
	deaths []poison.Death
	at     time.Time
}

func (t *testimony) put(member string, ds []poison.Death) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[string]tale)
	}
	t.by[member] = tale{ds, time.Now()}
	if len(ds) > 0 {
		t.some.Store(true)
	}
}

// since says that a member has spoken since the time.
func (t *testimony) since(member string, when time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.by[member]
	return ok && !w.at.Before(when)
}

// accusation is a member's word that an event ended processes of its.
type accusation struct {
	member string
	poison.Death
}

func (t *testimony) accusations(out []accusation) []accusation {
	if !t.some.Load() {
		return out
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for m, w := range t.by {
		for _, d := range w.deaths {
			out = append(out, accusation{m, d})
		}
	}
	return out
}

// forget costs nothing if nobody told of any.
func (t *testimony) forget(f func(*poison.Death) bool) {
	if !t.some.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	some := false
	for m, w := range t.by {
		var kept []poison.Death
		for i := range w.deaths {
			if !f(&w.deaths[i]) {
				kept = append(kept, w.deaths[i])
			}
		}
		t.by[m] = tale{kept, w.at}
		some = some || len(kept) > 0
	}
	t.some.Store(some)
}
