package drill

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/understudy-ha/understudy/standby"
)

//go:embed report.html
var reportHTML string

// WriteHTML writes one page that needs nothing else: verdicts, percentiles, and
// a picture of each round's time.
func (r *Report) WriteHTML(w io.Writer) error {
	p := page{Report: r, Bars: r.Histogram()}
	for i := range p.Bars {
		p.Most = max(p.Most, p.Bars[i].Count)
	}
	for i := range r.Rounds {
		p.Views = append(p.Views, newView(i, &r.Rounds[i]))
	}
	round := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	// Here, since every member of a group would pay for it at its start.
	t, err := template.New("report").Funcs(template.FuncMap{"ms": round, "px": round}).Parse(reportHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

type page struct {
	*Report
	Bars  []Bar
	Most  int
	Views []view
}

// Share is a bar's length, the longest being 100.
func (p page) Share(b Bar) float64 { return 100 * float64(b.Count) / float64(p.Most) }

// Picture of a round, in its own units.
const (
	pictureWidth = 900.0
	ackHeight    = 60.0
	maxColumns   = 300
	ticks        = 8
	labelWidth   = 14.0
)

// view is a round as it is drawn.
type view struct {
	*Round
	N          int
	Complaints []string
	Columns    []span // acknowledgements; H is their height
	Outage     *span
	Phases     []span
	Marks      []mark
	Ticks      []mark
}

type span struct {
	X, W, Y, H float64
	Class      string
	What       string
}

type mark struct {
	X     float64
	Label string
	AtMS  float64
	What  string
}

func newView(i int, r *Round) view {
	v := view{Round: r, N: i + 1, Complaints: r.complaints()}
	end := max(1, float64(len(r.acks))*millis(bucket))
	for _, m := range r.Timeline {
		end = max(end, m.AtMS)
	}
	x := func(ms float64) float64 { return ms / end * pictureWidth }
	v.Columns = columns(r.acks, x)
	if r.servedMS > 0 {
		at := max(0, r.servedMS-r.UnavailableMS)
		v.Outage = &span{X: x(at), W: max(1, x(r.UnavailableMS))}
		for _, p := range phases {
			ms := 0.0
			for _, name := range p.names {
				ms += r.PhasesMS[name]
			}
			if ms > 0 {
				v.Phases = append(v.Phases, span{X: x(at), W: max(0.5, x(ms)), Class: p.class, What: fmt.Sprintf("%s %.1f ms", p.class, ms)})
				at += ms
			}
		}
	}
	for n, m := range r.Timeline {
		k := mark{X: x(m.AtMS), Label: fmt.Sprint(n + 1), AtMS: m.AtMS, What: m.What}
		if n > 0 && k.X-v.Marks[n-1].X < labelWidth { // one label for what is close together
			k.Label, v.Marks[n-1].Label = v.Marks[n-1].Label+","+k.Label, ""
		}
		v.Marks = append(v.Marks, k)
	}
	for n := range ticks + 1 {
		ms := end * float64(n) / ticks
		v.Ticks = append(v.Ticks, mark{X: x(ms), What: fmt.Sprintf("%.2f s", ms/1000)})
	}
	return v
}

// phases are the parts of a takeover in their order.
var phases = []struct {
	class string
	names []string
}{
	{"detect", []string{"detect"}},
	{"elect", []string{"elect"}},
	{"barrier", []string{standby.PhaseBarrier}},
	{"replay", []string{standby.PhaseRestore, standby.PhaseReplay}},
	{"fence", []string{standby.PhaseFence}},
	{"serve", []string{standby.PhaseActive, "serve"}},
}

// columns draws acknowledgements over time.
func columns(acks []int, x func(float64) float64) []span {
	if len(acks) == 0 {
		return nil
	}
	each := (len(acks) + maxColumns - 1) / maxColumns
	var sums []int
	for part := range slices.Chunk(acks, each) {
		n := 0
		for _, a := range part {
			n += a
		}
		sums = append(sums, n)
	}
	most := max(1, slices.Max(sums))
	var out []span
	for i, n := range sums {
		if n > 0 {
			h := max(1, float64(n)/float64(most)*ackHeight)
			from := float64(i*each) * millis(bucket)
			out = append(out, span{X: x(from), W: x(float64(each) * millis(bucket)), Y: ackHeight - h, H: h})
		}
	}
	return out
}
