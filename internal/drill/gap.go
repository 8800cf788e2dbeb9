package drill

import (
	"time"

	"github.com/understudy-ha/understudy/standby"
)

// gap is an outage as the producers see it.
type gap struct {
	term    uint64        // of the active before
	last    time.Time     // last acknowledgement by it
	first   time.Time     // first one after
	newest  time.Time     // last acknowledgement by anybody
	longest time.Duration // without one while an event was on its way
}

// newGap looks for the end of the active with a term.
func newGap(term uint64) gap {
	now := time.Now()
	return gap{term: term, last: now, newest: now}
}

// take takes down the receipt of an event that was sent at a time.
func (g *gap) take(r *standby.Receipt, now, sent time.Time) {
	if g.first.IsZero() {
		if g.term > 0 && (r.Term > g.term || r.Duplicate) {
			g.first = now
		} else {
			g.last = now
		}
	}
	since := g.newest
	if sent.After(since) {
		since = sent
	}
	g.longest, g.newest = max(g.longest, now.Sub(since)), now
}

// ms is how long nobody was served, once it is over.
func (g *gap) ms() float64 { return millis(g.first.Sub(g.last)) }
