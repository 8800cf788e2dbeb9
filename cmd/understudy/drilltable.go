package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/understudy-ha/understudy/internal/drill"
	"github.com/understudy-ha/understudy/standby"
)

// drillTable prints a report for people.
func drillTable(w io.Writer, r *drill.Report) error {
	fmt.Fprintln(w)
	t := newTable("ROUND", "FAULT", "VICTIM", "PROMOTED", "DETECT", "ELECT", "BARRIER", "REPLAY", "FENCE", "SERVE", "TOTAL", "REPLAYED", "LOST", "DUP", "PROOF")
	for i := range r.Rounds {
		x := &r.Rounds[i]
		ms := func(names ...string) string {
			if len(x.PhasesMS) == 0 {
				return "-" // the role did not move, or more than once
			}
			sum := 0.0
			for _, n := range names {
				sum += x.PhasesMS[n]
			}
			return fmt.Sprintf("%.1f", sum)
		}
		proof := "ok"
		if x.Proof != "ok" {
			proof = "BAD"
		}
		if x.Failure != "" {
			proof += ", LATE"
		}
		t.row(fmt.Sprint(i+1), string(x.Fault), x.Victim, cmpOr(x.Promoted, "-"), ms("detect"), ms("elect"), ms(standby.PhaseBarrier),
			ms(standby.PhaseRestore, standby.PhaseReplay), ms(standby.PhaseFence), ms(standby.PhaseActive, "serve"),
			fmt.Sprintf("%.1f ms", x.UnavailableMS), fmt.Sprint(x.Replayed), fmt.Sprint(x.Lost), fmt.Sprint(x.Duplicated), proof)
	}
	if err := t.write(w); err != nil {
		return err
	}
	u := r.Unavailable
	fmt.Fprintf(w, "\nunavailable p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms\n", u.P50, u.P95, u.P99, u.Max)
	if err := histogram(w, r.Histogram()); err != nil {
		return err
	}
	fmt.Fprintf(w, "acknowledged %d of %d (%d rejected by the daemon), lost %d, duplicated %d\n", r.Acknowledged, r.Events, r.Rejected, r.Lost, r.Duplicated)
	fmt.Fprintf(w, "proofs verified %d, failed %d\n", r.ProofsOK, r.ProofsBad)
	for _, q := range slices.Sorted(maps.Keys(r.Answers)) {
		fmt.Fprintf(w, "%s: %s\n", q, r.Answers[q])
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "! %s\n", f)
	}
	if r.Dir != "" {
		fmt.Fprintf(w, "data and logs: %s\n", r.Dir)
	}
	if !r.Held() {
		again := ""
		if r.Seed > 0 {
			again = fmt.Sprintf("; again with the same moments: --seed %d", r.Seed)
		}
		_, err := fmt.Fprintf(w, "the group did not hold%s\n", again)
		return err
	}
	_, err := fmt.Fprintln(w, "the group held: nothing lost, nothing doubled, every takeover proven")
	return err
}

// histogram prints bars, from three rounds on.
func histogram(w io.Writer, bars []drill.Bar) error {
	total, most := 0, 0
	for _, b := range bars {
		total += b.Count
		most = max(most, b.Count)
	}
	if total < 3 {
		return nil
	}
	t := new(table)
	for i := range bars {
		cells := []string{"  " + bars[i].Label(), fmt.Sprint(bars[i].Count), bars[i].Marks(most, 40)}
		t.row(cells[:2+min(1, bars[i].Count)]...)
	}
	return t.write(w)
}
