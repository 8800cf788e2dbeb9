package standby

import (
	"fmt"
	"slices"
	"time"
)

// skewed says that this member's wall clock is too far from the others' for it
// to be promoted: it would record wrong times, and committed time never goes
// back. Nothing of safety hangs on it, so an active whose clock is set wrong
// stays active.
func (g *Group) skewed() error {
	d := g.seen.skew()
	if d.Abs() <= g.cfg.MaxClockSkew {
		return nil
	}
	return fmt.Errorf("the wall clock of %s is off by %v from the others': set it right", g.cfg.Member, d.Round(time.Second))
}

// skew is how far this member's wall clock is ahead of the median of all that
// answer, itself included. Of two in the middle it is the nearer: of two members
// nobody can say which one is wrong.
func (s *seen) skew() time.Duration {
	s.mu.Lock()
	off := []time.Duration{0}
	for _, v := range s.last {
		if v.err == nil {
			off = append(off, v.behind)
		}
	}
	s.mu.Unlock()
	slices.Sort(off)
	low, high := off[(len(off)-1)/2], off[len(off)/2]
	if low.Abs() < high.Abs() {
		return low
	}
	return high
}
