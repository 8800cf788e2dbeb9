package host

import (
	"fmt"
	"math"
	"runtime/debug"

	"github.com/understudy-ha/understudy/chain"
)

// Query asks the daemon, which does not change. A panic in it is contained.
func (h *Host) Query(request []byte) (answer []byte, err error) {
	q, ok := h.daemon.(Queryable)
	switch {
	case h.poison != nil:
		return nil, h.poison
	case !ok:
		return nil, ErrNoQuery
	}
	defer func() {
		if p := recover(); p != nil {
			answer, err = nil, fmt.Errorf("the query panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return q.Query(request)
}

// Control tells the daemon what happens to it, if it listens.
func (h *Host) Control(c Control) {
	if d, ok := h.daemon.(Controlled); ok && h.poison == nil {
		h.contain(fmt.Sprintf("on %T", c), func() { d.OnControl(c) })
	}
}

// contain has a panic of the daemon, besides events, poison the host.
func (h *Host) contain(where string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			h.poison = &PoisonError{Seq: h.tip.Head.Size(), Reason: reason(fmt.Sprintf("the daemon panicked %s: %v", where, p)), Stack: string(debug.Stack())}
		}
	}()
	f()
}

// Health is the daemon's own judgement; healthy if it has none. A panic in it
// poisons the host, as one in Saturation does.
func (h *Host) Health() (health Health) {
	if d, ok := h.daemon.(HealthReporter); ok && h.poison == nil {
		h.contain("in Health", func() { health = d.Health() })
	}
	if h.poison != nil {
		return Health{Unhealthy, h.poison.Error()}
	}
	return health
}

// Saturation is how busy the daemon says it is, 0 to 1.
func (h *Host) Saturation() (load float64) {
	if d, ok := h.daemon.(SaturationReporter); ok && h.poison == nil {
		h.contain("in Saturation", func() { load = d.Saturation() })
	}
	if math.IsNaN(load) { // 0/0: nothing to do
		return 0
	}
	return min(max(load, 0), 1)
}

// Requirements is what the daemon wants of a machine; nothing if it does not say.
func (h *Host) Requirements() Requirements {
	if d, ok := h.daemon.(Requirer); ok {
		return d.Requirements()
	}
	return Requirements{}
}

// Tip is a copy of the host's place in the chain.
func (h *Host) Tip() chain.Tip { return h.tip }

// Head is the newest link.
func (h *Host) Head() chain.Head { return h.tip.Head }

// Sequence is the position of the newest link that the daemon has seen: the
// head's, or one after it while the host follows.
func (h *Host) Sequence() uint64 { at := h.outline(); return at.Seq }

// Term is that of the newest link that the daemon has seen.
func (h *Host) Term() uint64 { at := h.outline(); return at.Term }

// Origin is the group whose chain this is.
func (h *Host) Origin() chain.Origin { return h.tip.Head.Link.Origin }

// EntityID is the public half of the member's identity.
func (h *Host) EntityID() chain.EntityID { return h.key.ID() }

// Keypair is the member's identity, which may be public-only.
func (h *Host) Keypair() chain.Keypair { return h.key }

// Name is the daemon's name.
func (h *Host) Name() string { return h.daemon.Name() }

// Stats counts what this host has done.
func (h *Host) Stats() Stats { return h.stats }

// Config is the limits it works under.
func (h *Host) Config() Config { return h.cfg }

// Daemon is the user's code. Calling Process on it breaks the chain.
func (h *Host) Daemon() Daemon { return h.daemon }

// Horizon is what the chain has seen, exactly; the host's own, not to be changed.
func (h *Host) Horizon() *chain.Horizon { return h.horizon }

// Poisoned says why the host is of no more use, or nil.
func (h *Host) Poisoned() error { return h.poison }

// String is for logs.
func (h *Host) String() string {
	return fmt.Sprintf("host(%s origin=%s seq=%d stats=%+v)", h.Name(), h.Origin().Short(), h.Sequence(), h.stats)
}
