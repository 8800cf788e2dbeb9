// Package host runs one daemon under its hash chain. A [Daemon] is the user's
// code: bytes in, bytes out, nothing else. A [Host] owns one daemon and its
// position: it gives each event a link, records refusals, takes and restores
// snapshots, and replays committed steps. It is a plain value with one owner:
// no goroutines, no locks, no clock, no I/O.
//
// # Writing a daemon
//
// Process must depend on nothing but the daemon's state and the event; the
// event brings the time. The same events then give the same outputs on every
// member and at every replay, which is what makes a standby's promotion
// provable. An error from Process rejects the event: it is recorded, and a
// replay must reject it again. Package hosttest checks a daemon in three lines.
//
// Everything beyond the two required methods is optional: implement
// [Stateful] or [Streamer] to carry state, [Canonical] if equal states always
// give equal bytes, [Queryable] to answer questions, [Requirer],
// [HealthReporter], [SaturationReporter], [Controlled] to take part in
// placement and supervision.
//
// # Duties of a host's owner
//
// Call it from one goroutine at a time, and let nothing that it returns out
// before it is committed. A panic of the daemon, or outputs over the limit,
// poison the host: [ErrPoisoned] from then on. The owner throws it away, builds
// another at the committed head, and has that one [Host.Refuse] the event. A
// failed restore changes nothing. A replay that makes another link than the
// committed one is a [DivergenceError], and the host is then of no use. A Process
// that does not return is the owner's to leave behind, with its host.
package host

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// Daemon is the user's deterministic code. Process handles one event and
// returns its outputs in order; an error rejects the event, and the daemon must
// then be as it was before. It is called from one goroutine at a time, must neither
// change nor keep the event's bytes, nor use those of its outputs again once it
// has returned them, and should return within microseconds.
type Daemon interface {
	Name() string
	Process(ev chain.Event) ([][]byte, error)
}

// Stateful daemons carry state from event to event. Restore is called on a
// fresh daemon, before any event.
type Stateful interface {
	Snapshot() ([]byte, error)
	Restore(state []byte) error
}

// Streamer is for state too large for one byte slice. Capture is called
// between events and must be cheap; the capture is then written while further
// events are processed.
type Streamer interface {
	Capture() (Capture, error)
	RestoreFrom(r io.Reader) error
}

// Capture is a frozen view of a daemon's state.
type Capture interface {
	io.WriterTo
	Release() // called once, from any goroutine, when nobody reads the view any more
}

// Canonical daemons give the same snapshot bytes for the same state, so that
// two members' states can be compared.
type Canonical interface{ CanonicalSnapshot() bool }

// Queryable daemons answer questions without changing.
type Queryable interface {
	Query(request []byte) ([]byte, error)
}

// Requirer daemons say where they can run.
type Requirer interface{ Requirements() Requirements }

// HealthReporter daemons say how they are. Polled each second on the active;
// an unhealthy one loses the role.
type HealthReporter interface{ Health() Health }

// SaturationReporter daemons say how busy they are, 0 to 1.
type SaturationReporter interface{ Saturation() float64 }

// Controlled daemons hear of what happens to them, between events.
type Controlled interface{ OnControl(c Control) }

// IsStateful says whether the daemon carries state.
func IsStateful(d Daemon) bool {
	switch d.(type) {
	case Stateful, Streamer:
		return true
	}
	return false
}

// Capabilities is what a machine offers: tags and named values.
type Capabilities struct {
	Tags   []string          `json:"tags,omitempty"`
	Values map[string]string `json:"values,omitempty"`
}

// Requirements is what a daemon wants of a machine. What is in Required must
// be there; Optional only ranks machines that are otherwise equal.
type Requirements struct {
	Required Capabilities
	Optional Capabilities
}

// MetBy says whether c has all that is required, and names what is missing.
func (r Requirements) MetBy(c Capabilities) (bool, []string) {
	missing := r.Required.missingFrom(c)
	return len(missing) == 0, missing
}

// Score counts the optional capabilities that c has.
func (r Requirements) Score(c Capabilities) int {
	return len(r.Optional.Tags) + len(r.Optional.Values) - len(r.Optional.missingFrom(c))
}

func (c Capabilities) missingFrom(has Capabilities) []string {
	var missing []string
	for _, t := range c.Tags {
		if !slices.Contains(has.Tags, t) {
			missing = append(missing, t)
		}
	}
	for k, v := range c.Values {
		if has.Values[k] != v {
			missing = append(missing, fmt.Sprintf("%s=%s", k, v))
		}
	}
	slices.Sort(missing)
	return missing
}

// HealthState is how well a daemon is.
type HealthState int

// The states of health. The zero value is healthy.
const (
	Healthy HealthState = iota
	Degraded
	Unhealthy
)

// Health is a daemon's own judgement, with its reason unless healthy.
type Health struct {
	State  HealthState
	Reason string
}

// String is the state and its reason.
func (h Health) String() string {
	s := [...]string{"healthy", "degraded", "unhealthy"}[min(max(h.State, Healthy), Unhealthy)]
	if h.Reason != "" {
		s += ": " + h.Reason
	}
	return s
}

// Control is something that happens to a daemon besides events: one of
// [Activated], [DrainStart], [DrainFinish], [Shutdown], [BackpressureOn],
// [BackpressureOff].
type Control interface{ control() }

// Activated: this daemon is the active's from now on, in this term.
type Activated struct{ Term uint64 }

// DrainStart: a switchover begins; no events come until DrainFinish or the end.
type DrainStart struct{ Grace time.Duration }

// DrainFinish: the switchover did not take place; events come again.
type DrainFinish struct{}

// Shutdown: the process ends after the grace.
type Shutdown struct{ Grace time.Duration }

// BackpressureOn: the queue in front of the daemon is full to this level, 0 to 1.
type BackpressureOn struct{ Level float64 }

// BackpressureOff: the queue has room again.
type BackpressureOff struct{}

func (Activated) control()       {}
func (DrainStart) control()      {}
func (DrainFinish) control()     {}
func (Shutdown) control()        {}
func (BackpressureOn) control()  {}
func (BackpressureOff) control() {}
