package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/64 wide, from 1 µs
// on. It has one owner; add brings several together.
type histogram struct {
	buckets [64 * 42]uint64
	count   uint64
	max     time.Duration
}

// bucket is the place of a duration: 64 steps of 1 µs, then 32 for each power of two.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 64 {
		return int(us)
	}
	shift := bits.Len64(us) - 6
	return 32*shift + int(us>>shift)
}

// upper is the largest duration of a bucket.
func upper(i int) time.Duration {
	if i < 64 {
		return time.Duration(i+1)*time.Microsecond - 1
	}
	shift := i/32 - 1
	return time.Duration((uint64(i-32*shift)+1)<<shift)*time.Microsecond - 1
}

func (h *histogram) record(d time.Duration, n uint64) {
	h.buckets[min(bucket(d), len(h.buckets)-1)] += n
	h.count += n
	h.max = max(h.max, d)
}

func (h *histogram) add(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.max = max(h.max, o.max)
}

// quantile is a duration that a part q of all did not exceed, in microseconds.
func (h *histogram) quantile(q float64) float64 {
	left := uint64(q * float64(h.count))
	for i, n := range h.buckets {
		if left < n {
			return micros(min(upper(i), h.max))
		}
		left -= n
	}
	return micros(h.max)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()/100) / 10 }
