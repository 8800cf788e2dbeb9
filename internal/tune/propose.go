package tune

import (
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/config"
)

// What a timing must leave room for. A disk that needs longer than the lease
// for a write loses the active role, which is right for a failing disk and
// wrong for a slow one; a standby that waits less than several round trips
// stands for election although the active is well.
const (
	tripsPerBeat  = 10                     // round trips in a heartbeat
	writesInLease = 6.25                   // writes in a lease: 20 ms in 125
	leastStall    = 2 * time.Second        // the default
	stallWrites   = 10                     // of the longest write seen
	step          = 500 * time.Millisecond // to which proposals beyond the profiles are rounded up
)

// Measured is what was measured; nil: was not.
type Measured struct {
	RoundTrip *Spread // between members
	Fsync     *Spread
}

// Proposal is a timing and the reasons for it.
type Proposal struct {
	Profile string
	Timing  config.Timing
	Own     bool // the timing is not the profile's: its keys are to be set
	Stall   time.Duration
	Reasons []string
}

// Propose takes the fastest profile that fits; lan-fast only if everything was
// measured. Where not even the slowest fits, it makes a timing.
func Propose(m Measured) Proposal {
	p := Proposal{Stall: stall(m)}
	for _, c := range config.Profiles() {
		if c.Name == "lan-fast" && (m.RoundTrip == nil || m.Fsync == nil) {
			p.Reasons = append(p.Reasons, "lan-fast is not proposed unless the disk and the round trips are known")
			continue
		}
		why := TooTight(c.Timing, m)
		p.Profile, p.Timing = c.Name, c.Timing
		if len(why) == 0 {
			return p
		}
		for _, w := range why {
			p.Reasons = append(p.Reasons, c.Name+": "+w)
		}
	}
	p.Own = true
	var beat time.Duration
	if m.RoundTrip != nil {
		beat = tripsPerBeat * m.RoundTrip.P99
	}
	if m.Fsync != nil {
		beat = max(beat, time.Duration(2*writesInLease*float64(m.Fsync.P99)))
	}
	beat = (beat + step - 1) / step * step
	p.Timing = config.Timing{Heartbeat: beat, Election: beat, Lease: beat / 2}
	return p
}

// TooTight says why a timing does not fit what was measured; empty if it does.
func TooTight(t config.Timing, m Measured) []string {
	var why []string
	if m.RoundTrip != nil {
		if limit := t.Heartbeat / tripsPerBeat; m.RoundTrip.P99 > limit {
			why = append(why, fmt.Sprintf("a heartbeat of %v needs round trips up to %v, the p99 is %v", t.Heartbeat, limit, m.RoundTrip.P99.Round(10*time.Microsecond)))
		}
	}
	if m.Fsync != nil {
		if limit := time.Duration(float64(t.Lease) / writesInLease); m.Fsync.P99 >= limit {
			why = append(why, fmt.Sprintf("a lease of %v needs writes under %v, the p99 is %v", t.Lease, limit, m.Fsync.P99.Round(10*time.Microsecond)))
		}
	}
	return why
}

// stall is well above the longest write that was seen.
func stall(m Measured) time.Duration {
	if m.Fsync == nil {
		return leastStall
	}
	s := stallWrites * m.Fsync.Max
	return max(leastStall, (s+time.Second-1)/time.Second*time.Second)
}

// Lines are the keys for the configuration file.
func (p *Proposal) Lines() []string {
	out := []string{"profile: " + p.Profile}
	if p.Own {
		out = append(out, fmt.Sprintf("heartbeat: %v", p.Timing.Heartbeat), fmt.Sprintf("election: %v", p.Timing.Election), fmt.Sprintf("lease: %v", p.Timing.Lease))
	}
	return append(out, fmt.Sprintf("stall_timeout: %v", p.Stall))
}
