package drill

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Time       string          `xml:"time,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"` // without service, in seconds
	Failure   *junitFailure `xml:"failure,omitempty"`
	Output    junitText     `xml:"system-out"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",cdata"`
}

type junitText struct {
	Text string `xml:",cdata"`
}

// WriteJUnit writes a test case for each round and a suite for each fault. A
// case's time is how long nobody was served.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: "understudy drill", Time: seconds(r.Seconds * 1000)}
	for i := range r.Rounds {
		x := &r.Rounds[i]
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != string(x.Fault) {
			all.Suites = append(all.Suites, junitSuite{Name: string(x.Fault), Properties: []junitProperty{
				{"daemon", r.Daemon}, {"profile", r.Profile}, {"members", fmt.Sprint(r.Members)}, {"seed", fmt.Sprint(r.Seed)},
			}})
		}
		s := &all.Suites[len(all.Suites)-1]
		c := junitCase{Name: fmt.Sprintf("%s round %d", x.Fault, i+1), ClassName: "understudy.drill." + string(x.Fault), Time: seconds(x.UnavailableMS)}
		var story strings.Builder
		for _, m := range x.Timeline {
			fmt.Fprintf(&story, "%9.1f ms  %s\n", m.AtMS, m.What)
		}
		c.Output.Text = plain(story.String())
		if !x.Held() {
			why := x.complaints()
			c.Failure = &junitFailure{Message: why[0], Type: x.red(), Text: plain(strings.Join(why, "\n"))}
			s.Failures++
			all.Failures++
		}
		s.Tests++
		all.Tests++
		s.Cases = append(s.Cases, c)
	}
	for i := range all.Suites {
		var ms float64
		for j := range r.Rounds {
			if string(r.Rounds[j].Fault) == all.Suites[i].Name {
				ms += r.Rounds[j].UnavailableMS
			}
		}
		all.Suites[i].Time = seconds(ms)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// plain leaves out what XML cannot hold.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, s)
}

func seconds(ms float64) string { return fmt.Sprintf("%.3f", ms/1000) }

// red is the gravest thing that does not hold, in a word; empty if all does.
func (r *Round) red() string {
	switch {
	case r.Lost > 0:
		return "lost"
	case r.Duplicated > 0:
		return "duplicated"
	case r.Proof != proofOK:
		return "proof"
	case r.Failure != "":
		return "late"
	}
	return ""
}

// complaints are what does not hold.
func (r *Round) complaints() []string {
	var out []string
	if r.Lost > 0 || r.Duplicated > 0 {
		out = append(append(out, fmt.Sprintf("lost %d, duplicated %d", r.Lost, r.Duplicated)), r.Findings...)
	}
	if r.Proof != proofOK {
		out = append(out, "proof: "+r.Proof)
	}
	if r.Failure != "" {
		out = append(out, r.Failure)
	}
	return out
}
