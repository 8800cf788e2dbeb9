package drill

import (
	"time"

	"github.com/understudy-ha/understudy/standby"
)

// gap is an outage as the producers see it: the longest time without an
// acknowledgement until the first one of a newer active. The new one answers
// what was sent again with the old receipts first, so that their term says
// nothing, and so may the old one after an outage before.
type gap struct {
	term    uint64        // of the active before
	last    time.Time     // last acknowledgement before the outage
	first   time.Time     // first one after
	over    bool          // the newer active has acknowledged an event of its own
	newest  time.Time     // last acknowledgement by anybody
	longest time.Duration // without one while an event was on its way
}

// newGap looks for the end of the active with a term.
func newGap(term uint64) gap {
	now := time.Now()
	return gap{term: term, last: now, first: now, newest: now}
}

// take takes down the receipt of an event that was sent at a time.
func (g *gap) take(r *standby.Receipt, now, sent time.Time) {
	if !g.over {
		if now.Sub(g.newest) > g.first.Sub(g.last) {
			g.last, g.first = g.newest, now
		}
		g.over = r.Term > g.term
	}
	since := g.newest
	if sent.After(since) {
		since = sent
	}
	g.longest, g.newest = max(g.longest, now.Sub(since)), now
}

// ms is how long nobody was served, once it is over.
func (g *gap) ms() float64 { return millis(g.first.Sub(g.last)) }
