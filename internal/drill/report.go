package drill

import (
	"fmt"
	"slices"
	"strings"
)

// Report is the outcome of a drill.
type Report struct {
	Daemon       string            `json:"daemon"`
	Fault        string            `json:"fault"` // of all rounds, comma-separated
	Profile      string            `json:"profile"`
	Members      int               `json:"members"`
	Seed         uint64            `json:"seed"`
	Events       int               `json:"events"`
	Seconds      float64           `json:"seconds"`
	Acknowledged int               `json:"acknowledged"`
	Rejected     int               `json:"rejected"` // of the acknowledged: by the daemon
	Lost         uint64            `json:"lost"`
	Duplicated   uint64            `json:"duplicated"`
	ProofsOK     int               `json:"proofs_verified"`
	ProofsBad    int               `json:"proofs_failed"`
	Failed       int               `json:"failed"` // rounds in which the group did not do its part in time
	Unavailable  Spread            `json:"unavailable_ms"`
	Rounds       []Round           `json:"rounds"`
	Answers      map[string]string `json:"answers,omitempty"`  // what the daemon says at the end
	Findings     []string          `json:"findings,omitempty"` // what does not hold, the first few
	Dir          string            `json:"dir,omitempty"`      // kept data and logs; of several drills comma-separated

	State []byte `json:"-"` // the daemon's whole final answer
}

// Spread is a distribution, by nearest rank.
type Spread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Held says whether the group kept its promises.
func (r *Report) Held() bool {
	return r.Lost == 0 && r.Duplicated == 0 && r.ProofsBad == 0 && r.Failed == 0
}

// Verdict is what a comparison found.
type Verdict struct {
	Lost       uint64   `json:"lost"`
	Duplicated uint64   `json:"duplicated"`
	Findings   []string `json:"findings,omitempty"` // the first few
}

const maxFindings = 20

func (v *Verdict) fault(count *uint64, format string, args ...any) {
	*count++
	if len(v.Findings) < maxFindings {
		v.Findings = append(v.Findings, fmt.Sprintf(format, args...))
	}
}

// count compares a number in the history with what it should be.
func (v *Verdict) count(want, got uint64, what string) {
	switch {
	case got < want:
		v.fault(&v.Lost, "%d %s, %d are acknowledged", got, what, want)
		v.Lost += want - got - 1
	case got > want:
		v.fault(&v.Duplicated, "%d %s, %d are acknowledged", got, what, want)
		v.Duplicated += got - want - 1
	}
}

// sum fills in what follows from the rounds.
func (r *Report) sum() {
	r.Lost, r.Duplicated, r.ProofsOK, r.ProofsBad, r.Failed, r.Findings = 0, 0, 0, 0, 0, nil
	var all []float64
	for i := range r.Rounds {
		round := &r.Rounds[i]
		all = append(all, round.UnavailableMS)
		r.Lost += round.Lost
		r.Duplicated += round.Duplicated
		if round.Proof == proofOK {
			r.ProofsOK++
		} else {
			r.ProofsBad++
			r.find(i, round.Proof)
		}
		if round.Failure != "" {
			r.Failed++
			r.find(i, round.Failure)
		}
		for _, f := range round.Findings {
			r.find(i, f)
		}
	}
	r.Unavailable = spread(all)
}

func (r *Report) find(round int, what string) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, fmt.Sprintf("round %d, %s: %s", round+1, r.Rounds[round].Fault, what))
	}
}

// Merge makes one report of several drills with the same settings.
func Merge(reps []*Report) *Report {
	if len(reps) == 1 {
		return reps[0]
	}
	all := &Report{Rounds: []Round{}}
	var faults, dirs []string
	for _, r := range reps {
		all.Daemon, all.Profile, all.Members, all.Seed = r.Daemon, r.Profile, r.Members, r.Seed
		faults = append(faults, r.Fault)
		all.Events += r.Events
		all.Seconds += r.Seconds
		all.Acknowledged += r.Acknowledged
		all.Rejected += r.Rejected
		all.Rounds = append(all.Rounds, r.Rounds...)
		if r.Dir != "" {
			dirs = append(dirs, r.Dir)
		}
	}
	all.Fault, all.Dir = strings.Join(faults, ","), strings.Join(dirs, ", ")
	all.sum()
	return all
}

func spread(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Clone(v)
	slices.Sort(v)
	rank := func(p int) float64 { return v[max(0, (len(v)*p+99)/100-1)] }
	return Spread{rank(50), rank(95), rank(99), v[len(v)-1]}
}
