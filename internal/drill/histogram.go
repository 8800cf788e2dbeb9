package drill

import (
	"fmt"
	"strings"
)

// edges are the upper ends of a histogram's bars, in milliseconds.
var edges = []float64{5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000}

// Bar is a part of a histogram.
type Bar struct {
	From, To float64 // milliseconds; To is 0 for the last one, without an end
	Count    int
}

// Histogram counts the rounds by how long they were without service, from the
// first bar with a round to the last one.
func (r *Report) Histogram() []Bar {
	bars := make([]Bar, len(edges)+1)
	for i := range bars {
		if i > 0 {
			bars[i].From = edges[i-1]
		}
		if i < len(edges) {
			bars[i].To = edges[i]
		}
	}
	first, last := len(bars), -1
	for i := range r.Rounds {
		n := 0
		for n < len(edges) && r.Rounds[i].UnavailableMS >= edges[n] {
			n++
		}
		bars[n].Count++
		first, last = min(first, n), max(last, n)
	}
	if last < 0 {
		return nil
	}
	return bars[first : last+1]
}

// Label is the bar's range.
func (b *Bar) Label() string {
	switch {
	case b.To == 0:
		return "over " + short(b.From)
	case b.From == 0:
		return "under " + short(b.To)
	}
	return short(b.From) + " to " + short(b.To)
}

func short(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%g s", ms/1000)
	}
	return fmt.Sprintf("%g ms", ms)
}

// Marks is the bar in characters, width of them for the most rounds.
func (b *Bar) Marks(most, width int) string {
	if b.Count == 0 {
		return ""
	}
	return strings.Repeat("#", max(1, b.Count*width/most))
}
