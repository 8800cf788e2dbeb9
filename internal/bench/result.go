package bench

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/understudy-ha/understudy/standby"
)

// Result is one measured case. Latencies are in microseconds; what is counted
// by event is of all members together.
type Result struct {
	Name        string  `json:"name"` // understudy, or a floor: raft, raft-packed, raft-stock
	Path        Path    `json:"path"`
	Store       string  `json:"store"`
	Payload     int     `json:"payload"`
	Concurrency int     `json:"concurrency"`
	Batch       int     `json:"batch"`
	Members     int     `json:"members"`
	Rate        float64 `json:"rate,omitempty"` // offered events a second; 0: as fast as answers come
	Runs        int     `json:"runs"`
	Failed      int     `json:"failed_runs,omitempty"` // repeated: an election, or an outcome that was not known

	Events     uint64  `json:"events"`
	EventsPerS float64 `json:"events_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p99_9_us"`
	Max        float64 `json:"max_us"`
	Unsent     uint64  `json:"unsent,omitempty"` // due, and not begun when time was up

	CPU     float64 `json:"cpu_us_per_event"` // embedded: the load included
	LoadCPU float64 `json:"load_cpu_us_per_event,omitempty"`
	RSS     float64 `json:"rss_mb"`                     // the largest member; embedded: all members and the load
	Written float64 `json:"disk_bytes_per_event"`       // as written, not as the kernel counts it
	Sent    float64 `json:"peer_sent_bytes_per_event"`  // between the members, on the wire
	Syncs   float64 `json:"fsyncs_per_event,omitempty"` // 0: not counted

	// The fastest floor of the same turn; the ratios are medians over the turns.
	// 0: not measured.
	FloorEventsPerS float64 `json:"floor_events_per_s"`
	Ratio           float64 `json:"ratio"`
	FloorP50        float64 `json:"floor_p50_us,omitempty"`
	P50Ratio        float64 `json:"p50_ratio,omitempty"`
}

// Report is a whole measurement.
type Report struct {
	Machine Machine  `json:"machine"`
	Results []Result `json:"results"`
}

// Machine is where it was measured.
type Machine struct {
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Load    float64   `json:"load_average"` // of the machine before the first case; 0 unknown
}

func thisMachine(version string) Machine {
	return Machine{runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), version, time.Now().UTC().Truncate(time.Second), loadAverage()}
}

// result puts a run's numbers together.
func (c *Case) result(name string, t *tally, d time.Duration, members, load usage) Result {
	n, store := float64(t.events), string(c.Store)
	if name == Stock {
		store = "raft-boltdb, bare"
	}
	if c.Store == standby.RaftStoreBolt || name == Stock {
		members.written = 0 // it writes its log by itself
	}
	return Result{
		Name: name, Path: c.Path, Store: store, Payload: c.Payload, Concurrency: c.Concurrency, Batch: c.Batch, Members: c.Members, Rate: c.Rate, Runs: 1,
		Events: t.events, EventsPerS: round(n / d.Seconds()), Unsent: t.unsent,
		P50: t.latency.quantile(0.5), P99: t.latency.quantile(0.99), P999: t.latency.quantile(0.999), Max: micros(t.latency.max),
		CPU: round(micros(members.cpu) / n), LoadCPU: round(micros(load.cpu) / n), RSS: round(float64(members.rss) / (1 << 20)),
		Written: round(float64(members.written) / n), Sent: round(float64(members.sent) / n), Syncs: round(float64(members.syncs) / n),
	}
}

// round keeps four digits that mean something.
func round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	if scale < 1 {
		return math.Round(v)
	}
	return math.Round(v*scale) / scale
}

// median is the run in the middle by throughput, with the ratios that are in
// the middle: what disturbs the machine for a while disturbs a whole turn. Of
// two in the middle it is the worse one.
func median(runs []Result) Result {
	sorted := func(of func(*Result) float64) []Result {
		slices.SortFunc(runs, func(a, b Result) int { return cmp.Compare(of(&a), of(&b)) })
		return runs
	}
	n := len(runs)
	ratio := sorted(func(r *Result) float64 { return r.Ratio })[(n-1)/2].Ratio
	p50 := sorted(func(r *Result) float64 { return r.P50Ratio })[n/2].P50Ratio
	failed := 0
	for i := range runs {
		failed += runs[i].Failed
	}
	r := sorted(func(r *Result) float64 { return r.EventsPerS })[(n-1)/2]
	r.Runs, r.Failed, r.Ratio, r.P50Ratio = n, failed, ratio, p50
	return r
}

// against compares with the floors of the same turn: the fastest of them.
func (r *Result) against(floors []Result) {
	for _, f := range floors {
		if f.Name == Stock {
			continue
		}
		r.FloorEventsPerS = max(r.FloorEventsPerS, f.EventsPerS)
		if r.FloorP50 == 0 || f.P50 < r.FloorP50 {
			r.FloorP50 = f.P50
		}
	}
	if r.FloorEventsPerS > 0 {
		r.Ratio, r.P50Ratio = round(r.EventsPerS/r.FloorEventsPerS), round(r.P50/r.FloorP50)
	}
}
