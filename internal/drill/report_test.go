package drill

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/golden"
)

// sample is a report with a round of each verdict.
func sample() *Report {
	held := Round{
		Fault: Kill, Victim: "a", Promoted: "b", Term: 3, UnavailableMS: 612.5, Replayed: 40, Acknowledged: 120, Proof: proofOK,
		PhasesMS: map[string]float64{"detect": 500, "elect": 20, "barrier": 5, "restore": 0, "replay": 12.5, "fence": 4, "active": 21, "serve": 50},
		Timeline: []Moment{{100, "a is killed"}, {712.5, "b serves in term 3, unavailable 612 ms, 40 replayed"}, {1500, "all members are well"}},
		acks:     []int{40, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 90}, servedMS: 712.5,
	}
	lost := held
	lost.Verdict = Verdict{Lost: 1, Duplicated: 2, Findings: []string{`line 7 has "<script>" & more`}}
	lost.Proof = "the proof does not show the handoff to b in term 3"
	late := Round{Fault: SlowNet, Victim: "c", UnavailableMS: 7000, Proof: proofOK, Failure: "unavailable for 7000 ms, at most 5s are in order", Timeline: []Moment{{10, "every line takes 20ms more"}}}
	r := &Report{Daemon: "ledger", Fault: "kill,slow-net", Profile: "lan-fast", Members: 3, Seed: 42, Events: 600, Seconds: 9.25, Acknowledged: 600, Rejected: 7, Rounds: []Round{held, lost, late}}
	r.sum()
	return r
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteJUnit(&b))
	golden.Text(t, "report.xml", b.Bytes())
	var v junitSuites
	require.NoError(t, xml.Unmarshal(b.Bytes(), &v))
	require.Equal(t, 3, v.Tests)
	require.Equal(t, 2, v.Failures)
	require.Equal(t, "lost", v.Suites[0].Cases[1].Failure.Type)
	require.Contains(t, v.Suites[0].Cases[1].Failure.Text, `"<script>" & more`)
	require.Equal(t, "late", v.Suites[1].Cases[0].Failure.Type)

	r := sample()
	r.Rounds[2].Failure = "odd bytes \x00\x1b]]> and \xff"
	b.Reset()
	require.NoError(t, r.WriteJUnit(&b))
	require.NoError(t, xml.Unmarshal(b.Bytes(), new(junitSuites)))
}

func TestHTML(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteHTML(&b))
	golden.Text(t, "report.html", b.Bytes())
	page := b.String()
	require.NotContains(t, page, "<script", "text from outside is escaped, and the page has no scripts")
	for _, outside := range []string{"http:", "https:", "src=", "@import", "url("} {
		require.NotContains(t, page, outside, "the page needs nothing else")
	}
	require.Equal(t, 2, strings.Count(page, `class="outage" x=`), "two rounds had a takeover")
	wellFormed(t, page)

	empty := Report{Rounds: []Round{}}
	empty.sum()
	require.NoError(t, empty.WriteHTML(io.Discard))
	require.NoError(t, empty.WriteJUnit(io.Discard))
}

// wellFormed checks that every element is closed where it should be.
func wellFormed(t *testing.T, page string) {
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict = false // for the doctype and void elements alone
	d.AutoClose = []string{"meta"}
	d.Entity = xml.HTMLEntity
	var open []string
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch e := tok.(type) {
		case xml.StartElement:
			if e.Name.Local != "meta" {
				open = append(open, e.Name.Local)
			}
		case xml.EndElement:
			require.NotEmpty(t, open)
			require.Equal(t, open[len(open)-1], e.Name.Local)
			open = open[:len(open)-1]
		}
	}
	require.Empty(t, open)
}

// What scripts read must not be renamed.
func TestJSONFields(t *testing.T) {
	b, err := json.Marshal(sample())
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(b, &v))
	for _, k := range []string{"acknowledged", "lost", "duplicated", "proofs_verified", "proofs_failed", "failed", "unavailable_ms", "rounds", "seed"} {
		require.Contains(t, v, k)
	}
	for _, k := range []string{"p50", "p95", "p99", "max"} {
		require.Contains(t, v["unavailable_ms"], k)
	}
	for _, k := range []string{"fault", "victim", "promoted", "unavailable_ms", "phases_ms", "replayed", "proof", "lost", "duplicated", "timeline"} {
		require.Contains(t, v["rounds"].([]any)[0], k)
	}
	require.Equal(t, 1.0, v["lost"])
	require.Equal(t, 2.0, v["duplicated"])
	require.Equal(t, 1.0, v["proofs_failed"])
	require.Equal(t, 1.0, v["failed"])
	require.Len(t, v["findings"], 3)
}

func TestMergeAndHistogram(t *testing.T) {
	a, b := sample(), sample()
	all := Merge([]*Report{a, b})
	require.Len(t, all.Rounds, 6)
	require.Equal(t, uint64(2), all.Lost)
	require.Equal(t, 4, all.ProofsOK)
	require.Equal(t, 1200, all.Acknowledged)
	require.False(t, all.Held())
	require.Equal(t, Spread{612.5, 7000, 7000, 7000}, all.Unavailable)
	var got []string
	for _, bar := range all.Histogram() {
		got = append(got, strings.TrimSpace(bar.Label()+" "+bar.Marks(4, 8)))
	}
	require.Equal(t, []string{"500 ms to 1 s ########", "1 s to 2 s", "2 s to 5 s", "5 s to 10 s ####"}, got)
	require.Empty(t, (&Report{}).Histogram())
}

// Each drill that did not hold keeps its data, and all are to be found.
func TestMergeNamesEveryDirectory(t *testing.T) {
	a, b := sample(), sample()
	a.Dir, b.Dir = "/tmp/a", "/tmp/b"
	all := Merge([]*Report{a, sample(), b})
	require.Contains(t, all.Dir, "/tmp/a")
	require.Contains(t, all.Dir, "/tmp/b")
}
