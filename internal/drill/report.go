package drill

import (
	"fmt"
	"slices"
)

// Report is the outcome of a drill.
type Report struct {
	Daemon       string            `json:"daemon"`
	Fault        Fault             `json:"fault"`
	Profile      string            `json:"profile"`
	Seed         uint64            `json:"seed"`
	Events       int               `json:"events"`
	Seconds      float64           `json:"seconds"`
	Acknowledged int               `json:"acknowledged"`
	Rejected     int               `json:"rejected"` // of the acknowledged: by the daemon
	Lost         uint64            `json:"lost"`
	Duplicated   uint64            `json:"duplicated"`
	ProofsOK     int               `json:"proofs_verified"`
	ProofsBad    int               `json:"proofs_failed"`
	Unavailable  Spread            `json:"unavailable_ms"`
	Rounds       []Round           `json:"rounds"`
	Answers      map[string]string `json:"answers"`            // what the daemon says at the end
	Findings     []string          `json:"findings,omitempty"` // what is lost or doubled, the first few
	Dir          string            `json:"dir,omitempty"`      // kept data and logs

	State []byte `json:"-"` // the daemon's whole final answer
}

// Spread is a distribution, by nearest rank.
type Spread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
}

// Held says whether the group kept its promises.
func (r *Report) Held() bool { return r.Lost == 0 && r.Duplicated == 0 && r.ProofsBad == 0 }

const maxFindings = 20

func (r *Report) fault(count *uint64, format string, args ...any) {
	*count++
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// count compares a number in the history with what it should be.
func (r *Report) count(want, got uint64, what string) {
	switch {
	case got < want:
		r.fault(&r.Lost, "%d %s, %d are acknowledged", got, what, want)
		r.Lost += want - got - 1
	case got > want:
		r.fault(&r.Duplicated, "%d %s, %d are acknowledged", got, what, want)
		r.Duplicated += got - want - 1
	}
}

func (r *Report) sum() {
	var all []float64
	for _, round := range r.Rounds {
		all = append(all, round.UnavailableMS)
		if round.Proof == "ok" {
			r.ProofsOK++
		} else {
			r.ProofsBad++
		}
	}
	r.Unavailable = spread(all)
}

func spread(v []float64) Spread {
	v = slices.Clone(v)
	slices.Sort(v)
	rank := func(p int) float64 { return v[max(0, (len(v)*p+99)/100-1)] }
	return Spread{rank(50), rank(95), v[len(v)-1]}
}
