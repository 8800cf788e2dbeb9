package standby

import (
	"sync"
	"time"

	"github.com/understudy-ha/understudy/host"
)

// notes is what this member has to say about itself.
type notes struct {
	mu     sync.Mutex
	reason string // newest failure, with its time
	at     time.Time
	health host.Health
	load   float64
	phases map[uint64]map[string]float64 // of the promotions, by term
	newest uint64                        // term of this member's own newest promotion
}

func (g *Group) noteReason(err error) {
	g.notes.mu.Lock()
	g.notes.reason, g.notes.at = err.Error(), time.Now()
	g.notes.mu.Unlock()
	g.changed.notify()
}

func (g *Group) noteHealth(h host.Health, load float64) {
	g.notes.mu.Lock()
	defer g.notes.mu.Unlock()
	g.notes.health, g.notes.load = h, load
}

// maxNotedPromotions bounds the promotions whose phase times are remembered,
// maxPhases what another member says of one.
const (
	maxNotedPromotions = 256
	maxPhases          = 16
)

func (g *Group) notePromotion(term uint64, phases map[string]float64, own bool) {
	g.notes.mu.Lock()
	defer g.notes.mu.Unlock()
	if own {
		g.notes.newest = term
	}
	if g.notes.phases == nil || len(g.notes.phases) >= maxNotedPromotions {
		g.notes.phases = make(map[uint64]map[string]float64)
	}
	g.notes.phases[term] = phases
}
