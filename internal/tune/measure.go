// Package tune measures what the timing of a group depends on, how long a disk
// takes to make a write durable and a member to answer another, and proposes a
// timing that fits.
package tune

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"
)

// Spread is a distribution of durations, by nearest rank.
type Spread struct {
	Count         int
	P50, P99, Max time.Duration
}

// SpreadOf sums up samples; nil if there are none.
func SpreadOf(v []time.Duration) *Spread {
	if len(v) == 0 {
		return nil
	}
	v = slices.Sorted(slices.Values(v))
	rank := func(p int) time.Duration { return v[max(0, (len(v)*p+99)/100-1)] }
	return &Spread{len(v), rank(50), rank(99), v[len(v)-1]}
}

// block is about what a small entry takes on disk.
const block = 4 << 10

// Fsync appends to a file of its own in a directory, as a log does, and times
// how long each piece takes to be durable. It removes the file.
func Fsync(ctx context.Context, dir string, writes int) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".understudy-tune-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	b := make([]byte, block)
	for range writes {
		if ctx.Err() != nil {
			return took, context.Cause(ctx)
		}
		start := time.Now()
		if _, err := f.Write(b); err != nil {
			return took, err
		}
		if err := f.Sync(); err != nil {
			return took, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}
