package bench

import (
	"fmt"
	"slices"

	"github.com/understudy-ha/understudy/standby"
)

// Path is how events reach the active.
type Path string

// The paths.
const (
	Client   Path = "client"   // member processes, the Go client: numbered events pipelined on a stream
	HTTP     Path = "http"     // member processes, one POST a batch
	Embedded Path = "embedded" // members in this process, called directly
)

// Paths lists them all.
func Paths() []Path { return []Path{Client, HTTP, Embedded} }

// Case is one combination of what is varied.
type Case struct {
	Path        Path
	Payload     int // bytes
	Concurrency int // callers, each with one batch on its way
	Batch       int // events a call
	Members     int
	Store       standby.RaftStore
	Rate        float64 // events a second; 0: as fast as answers come
}

// Bounds of a case.
const (
	MinPayload     = 16
	MaxPayload     = 64 << 10
	MaxConcurrency = 4096
	MaxBatch       = 1024
	MaxRate        = 10_000_000 // what is due must be counted one by one, sent or not
)

// maxCall bounds the payloads of one call; an entry of a floor holds a whole one.
const maxCall = 4 << 20

func (c *Case) check() error {
	switch {
	case !slices.Contains(Paths(), c.Path):
		return fmt.Errorf("path %.20q: use one of %v", c.Path, Paths())
	case c.Payload < MinPayload || c.Payload > MaxPayload:
		return fmt.Errorf("a payload of %d bytes: use %d to %d", c.Payload, MinPayload, MaxPayload)
	case c.Concurrency < 1 || c.Concurrency > MaxConcurrency:
		return fmt.Errorf("%d callers: use 1 to %d", c.Concurrency, MaxConcurrency)
	case c.Batch < 1 || c.Batch > MaxBatch:
		return fmt.Errorf("a batch of %d: use 1 to %d", c.Batch, MaxBatch)
	case !slices.Contains([]int{1, 3, 5}, c.Members):
		return fmt.Errorf("%d members: use 1, 3 or 5", c.Members)
	case c.Store != standby.RaftStoreFile && c.Store != standby.RaftStoreBolt:
		return fmt.Errorf("store %.20q: use %s or %s", c.Store, standby.RaftStoreFile, standby.RaftStoreBolt)
	case c.Batch*c.Payload > maxCall:
		return fmt.Errorf("batches of %d events of %d bytes: together at most %d bytes", c.Batch, c.Payload, maxCall)
	case !(c.Rate >= 0 && c.Rate <= MaxRate): // so that it is a number, too
		return fmt.Errorf("a rate of %v: use up to %d, or 0 for as fast as answers come", c.Rate, MaxRate)
	}
	return nil
}

// String is the case in one line.
func (c Case) String() string {
	return fmt.Sprintf("%s, %d B, %d callers, batches of %d, %d members, store %s", c.Path, c.Payload, c.Concurrency, c.Batch, c.Members, c.Store)
}

// Axes are the values of what is varied.
type Axes struct {
	Paths                                   []Path
	Stores                                  []standby.RaftStore
	Payloads, Concurrency, Batches, Members []int
	Rate                                    float64
}

// Cases are all combinations.
func (a Axes) Cases() []Case {
	var out []Case
	for _, path := range a.Paths {
		for _, store := range a.Stores {
			for _, members := range a.Members {
				for _, payload := range a.Payloads {
					for _, batch := range a.Batches {
						for _, n := range a.Concurrency {
							out = append(out, Case{path, payload, n, batch, members, store, a.Rate})
						}
					}
				}
			}
		}
	}
	return out
}

// Sweep varies one thing at a time around the values of the axes. What one call
// cannot hold is left out.
func (a Axes) Sweep() ([]Case, error) {
	for _, values := range [][]int{a.Payloads, a.Concurrency, a.Batches, a.Members} {
		if len(values) != 1 {
			return nil, fmt.Errorf("a sweep goes around one value of payload, concurrency, batch and members, not around %v", values)
		}
	}
	var out []Case
	add := func(vary func(*Axes)) {
		b := a
		vary(&b)
		for _, c := range b.Cases() {
			fits := c.Batch*c.Payload <= maxCall || c.Batch == a.Batches[0] && c.Payload == a.Payloads[0]
			if fits && !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	add(func(b *Axes) { b.Concurrency = []int{1, 16, 64, 256, 1024} })
	add(func(b *Axes) { b.Payloads = []int{16, 128, 1024, 8 << 10, 64 << 10} })
	add(func(b *Axes) { b.Batches, b.Concurrency = []int{1, 16, 128, 1024}, []int{16} })
	add(func(b *Axes) { b.Members = []int{1, 3, 5} })
	return out, nil
}

// payloads are events for the kv daemon: values of a few keys, so that the
// state stays small.
func (c *Case) payloads() [][]byte {
	keys := min(max((1<<20)/c.Payload, 16), 1000)
	out := make([][]byte, keys)
	for i := range out {
		b := fmt.Appendf(make([]byte, 0, c.Payload), "put k%03d ", i)
		for j := 0; len(b) < c.Payload; j++ {
			b = append(b, "abcdefghijklmnopqrstuvwxyz0123456789"[(i*31+j*7)%36])
		}
		out[i] = b
	}
	return out
}
