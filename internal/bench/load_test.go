package bench

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// fake answers after a time that depends on when it is asked.
type fake func(at time.Time) time.Duration

func (f fake) call(ctx context.Context, batch [][]byte) error {
	d := f(time.Now())
	if d < 0 {
		return errors.New("the group is gone")
	}
	time.Sleep(d)
	return nil
}

var one = [][]byte{[]byte("event")}

// A second without answers shows in every event that was due in it, not only
// in the one that each caller was waiting for.
func TestOpenLoopCountsFromWhenEventsAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stall := fake(func(at time.Time) time.Duration {
			if d := at.Sub(start); d > 2*time.Second && d < 3*time.Second {
				return start.Add(3*time.Second).Sub(at) + time.Millisecond
			}
			return time.Millisecond
		})
		w := window{start.Add(time.Second), start.Add(11 * time.Second)}
		sum, err := drive(t.Context(), []caller{stall, stall}, one, 1, 100, w)
		require.NoError(t, err)
		require.Equal(t, uint64(1000), sum.latency.count)
		require.InDelta(t, 1000, sum.events, 2)
		require.Zero(t, sum.unsent)
		require.InDelta(t, time.Second, sum.latency.max, float64(30*time.Millisecond))
		require.Greater(t, sum.latency.quantile(0.92), 150_000.0, "a tenth of all events were due while nothing was answered")
		require.Less(t, sum.latency.quantile(0.85), 2_000.0)
	})
}

// An offer that the group cannot take in is not made to look as if it could.
func TestOpenLoopTellsWhatItCouldNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		slow := fake(func(time.Time) time.Duration { return 100 * time.Millisecond })
		sum, err := drive(t.Context(), []caller{slow}, one, 1, 100, window{start, start.Add(10 * time.Second)})
		require.NoError(t, err)
		require.InDelta(t, 100, sum.events, 2, "ten a second for ten seconds")
		require.Equal(t, uint64(1000), sum.latency.count, "each event that was due counts")
		require.InDelta(t, 1000-120, sum.unsent, 2)
	})
}

func TestClosedLoopAndItsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := window{start.Add(time.Second), start.Add(3 * time.Second)}
		steady := fake(func(time.Time) time.Duration { return 10 * time.Millisecond })
		sum, err := drive(t.Context(), []caller{steady, steady}, one, 8, 0, w)
		require.NoError(t, err)
		require.InDelta(t, 2*200*8, sum.events, 2*2*8)
		require.InDelta(t, 10_000, sum.latency.quantile(0.5), 320)

		gone := fake(func(at time.Time) time.Duration { return -1 })
		_, err = drive(t.Context(), []caller{steady, gone}, one, 1, 0, window{time.Now(), time.Now().Add(time.Hour)})
		require.ErrorContains(t, err, "the group is gone")
		_, err = drive(t.Context(), []caller{fake(func(time.Time) time.Duration { return time.Minute })}, one, 1, 0, window{time.Now(), time.Now().Add(time.Second)})
		require.ErrorContains(t, err, "measure longer")
	})
}

func TestHistogramIsWithinTwoParts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var a, b histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(rng.ExpFloat64() * float64(time.Millisecond) * 20)
		all = append(all, d)
		if i%2 == 0 {
			a.record(d, 1)
		} else {
			b.record(d, 1)
		}
	}
	a.add(&b)
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		want := micros(all[int(q*float64(len(all)))])
		require.InDelta(t, want, a.quantile(q), want/32+1, "quantile %v", q)
	}
	require.Equal(t, micros(all[len(all)-1]), micros(a.max))
	for d := time.Microsecond; d < time.Hour; d += d/7 + 1 {
		require.GreaterOrEqual(t, upper(bucket(d)), d.Truncate(time.Microsecond))
		require.Less(t, bucket(d), len(a.buckets))
		if i := bucket(d); i > 0 {
			require.Less(t, upper(i-1), d)
		}
	}
}

func TestCasesAreChecked(t *testing.T) {
	good := Case{Path: Embedded, Payload: 128, Concurrency: 16, Batch: 1, Members: 3, Store: standby.RaftStoreFile}
	require.NoError(t, good.check())
	for _, b := range good.payloads() {
		require.Len(t, b, 128)
	}
	for _, break1 := range []func(*Case){
		func(c *Case) { c.Path = "radio" }, func(c *Case) { c.Payload = 15 }, func(c *Case) { c.Payload = 65 << 10 },
		func(c *Case) { c.Concurrency = 0 }, func(c *Case) { c.Batch = 1025 }, func(c *Case) { c.Members = 2 },
		func(c *Case) { c.Store = "tape" }, func(c *Case) { c.Rate = -1 }, func(c *Case) { c.Batch, c.Payload = 1024, 8<<10 },
	} {
		c := good
		break1(&c)
		require.Error(t, c.check(), "%+v", c)
	}
	a := Axes{Paths: []Path{Client}, Payloads: []int{128}, Concurrency: []int{64}, Batches: []int{1}, Members: []int{3}, Stores: []standby.RaftStore{standby.RaftStoreBolt}}
	seen := map[Case]bool{}
	cases, err := a.Sweep()
	require.NoError(t, err)
	for _, c := range cases {
		require.NoError(t, c.check())
		require.False(t, seen[c])
		seen[c] = true
	}
	require.Len(t, seen, 5+4+3+2, "the base is in each once")
}

// An interrupted load has measured nothing: its window has no end.
func TestInterruptedLoadIsNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		steady := fake(func(time.Time) time.Duration { return 10 * time.Millisecond })
		for _, d := range []time.Duration{time.Millisecond, time.Second} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), d, context.Canceled)
			_, err := drive(ctx, []caller{steady}, one, 1, 0, window{start, start.Add(time.Hour)})
			cancel()
			require.ErrorIs(t, err, context.Canceled, "after %v", d)
		}
	})
}

// What was due while the load warmed up does not count, sent or not.
func TestUnsentOfTheWarmUpDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		slow := fake(func(time.Time) time.Duration { return time.Second })
		sum, err := drive(t.Context(), []caller{slow}, one, 1, 100, window{start.Add(5 * time.Second), start.Add(6 * time.Second)})
		require.NoError(t, err)
		require.Equal(t, uint64(100), sum.latency.count, "a hundred were due within the window")
		require.Equal(t, uint64(100), sum.unsent)
		require.LessOrEqual(t, sum.latency.max, 4*time.Second, "5 s are those of the warm-up")
	})
}

// A stall that outlasts the window shows in the latencies of a closed loop.
func TestStallAtTheEndOfTheWindowCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stall := fake(func(at time.Time) time.Duration {
			if at.Sub(start) > 2*time.Second {
				return 20 * time.Second
			}
			return 10 * time.Millisecond
		})
		sum, err := drive(t.Context(), []caller{stall}, one, 1, 0, window{start.Add(time.Second), start.Add(4 * time.Second)})
		require.NoError(t, err)
		require.InDelta(t, 100, sum.events, 2)
		require.Equal(t, 20*time.Second, sum.latency.max)
	})
}

// A rate that never ends is refused, not measured.
func TestRatesAreChecked(t *testing.T) {
	c := Case{Path: Embedded, Payload: 128, Concurrency: 16, Batch: 1, Members: 3, Store: standby.RaftStoreFile}
	for _, rate := range []float64{0, 0.5, 5000, MaxRate} {
		c.Rate = rate
		require.NoError(t, c.check(), "%v", rate)
	}
	for _, rate := range []float64{-1, math.Inf(1), math.NaN(), 2 * MaxRate} {
		c.Rate = rate
		require.ErrorContains(t, c.check(), "rate", "%v", rate)
	}
}

// A sweep around large batches or events leaves out what one call cannot hold.
func TestSweepFitsItsBase(t *testing.T) {
	base := Axes{Paths: []Path{Client}, Payloads: []int{128}, Concurrency: []int{64}, Batches: []int{1}, Members: []int{3}, Stores: []standby.RaftStore{standby.RaftStoreFile}}
	for _, change := range []func(*Axes){
		func(a *Axes) { a.Batches = []int{128} }, func(a *Axes) { a.Payloads = []int{64 << 10} }, func(a *Axes) { a.Batches = []int{1024} },
	} {
		a := base
		change(&a)
		cases, err := a.Sweep()
		require.NoError(t, err)
		require.Greater(t, len(cases), 8)
		for _, c := range cases {
			require.NoError(t, c.check(), "%v", c)
		}
	}
	for _, change := range []func(*Axes){
		func(a *Axes) { a.Concurrency = []int{1, 16} }, func(a *Axes) { a.Payloads = []int{16, 128} },
		func(a *Axes) { a.Batches = []int{1, 16} }, func(a *Axes) { a.Members = []int{1, 3} },
	} {
		a := base
		change(&a)
		_, err := a.Sweep()
		require.ErrorContains(t, err, "one value")
	}
}
