package standby

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/host"
)

// simFlag reads a number from the environment.
func simFlag(name string, def uint64) uint64 {
	if s := os.Getenv(name); s != "" {
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return n
		}
	}
	return def
}

// TestSimulation breaks whole groups in virtual time by seeded schedules, with
// producers at work, and checks everything that is promised after each step.
//
//	UNDERSTUDY_SIM_SEEDS=n    schedules (500; fewer with -race or -short)
//	UNDERSTUDY_SIM_FAULTS=n   faults in each (20)
//	UNDERSTUDY_SIM_SEED=s     one schedule, n times: the order of goroutines is
//	                          not part of the seed, so a failure comes again
//	                          with some probability only
func TestSimulation(t *testing.T) {
	def := uint64(500)
	switch {
	case testing.Short():
		def = 20
	case raceEnabled:
		def = 60
	}
	seeds, faults := simFlag("UNDERSTUDY_SIM_SEEDS", def), int(simFlag("UNDERSTUDY_SIM_FAULTS", 20))
	fixed, base := simFlag("UNDERSTUDY_SIM_SEED", 0), rand.Uint64()
	var next, injected atomic.Uint64
	var leaked atomic.Int64
	lanes := runtime.GOMAXPROCS(0)
	before := resources()
	t.Run("seeds", func(t *testing.T) {
		for lane := range lanes {
			t.Run(strconv.Itoa(lane), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1); i <= seeds && !t.Failed(); i = next.Add(1) {
					seed := base + i
					if fixed != 0 {
						seed = fixed
					}
					n, futures := runSeed(t, seed, faults)
					injected.Add(uint64(n))
					leaked.Add(int64(futures))
				}
			})
		}
	})
	after := resources()
	t.Logf("%d faults over %d seeds; %d goroutines and %d MiB before, %d and %d after, %d futures of Raft's never returned",
		injected.Load(), seeds, before.goroutines, before.heap>>20, after.goroutines, after.heap>>20, leaked.Load())
	if !t.Failed() {
		require.GreaterOrEqual(t, injected.Load(), seeds*uint64(faults))
		require.LessOrEqual(t, after.goroutines, before.goroutines+int(leaked.Load())+2)
		require.Less(t, after.heap, before.heap+16<<20+uint64(leaked.Load())<<20, "memory does not return to base")
	}
}

type usage struct {
	goroutines int
	heap       uint64
}

func resources() usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{runtime.NumGoroutine(), m.HeapAlloc}
}

// patienceReal bounds one schedule in real time: a loop without a pause would
// stop virtual time for good.
const patienceReal = 3 * time.Minute

func runSeed(t *testing.T, seed uint64, faults int) (injected, leaked int) {
	tr := &trace{seed: seed}
	stuck := time.AfterFunc(patienceReal, func() { panic("the simulation does not get on\n" + tr.String()) })
	defer stuck.Stop()
	bubble, done := "", false
	defer func() {
		if p := recover(); p != nil {
			if leaked = stuckFutures(bubble); leaked == 0 || !done {
				fmt.Fprintf(os.Stderr, "%s", tr)
				panic(p)
			}
		} else if t.Failed() {
			fmt.Fprintf(os.Stderr, "%s", tr)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		bubble = bubbleOf(stackOf(false))
		s := newSim(t, tr, rand.New(rand.NewPCG(seed, 1)), newTally)
		for i := range 2 {
			s.loads = append(s.loads, newProducer(fmt.Sprintf("p%d", i), s.rng).send)
		}
		for s.faults < faults {
			s.step()
		}
		s.recheck()
		injected, done = s.faults, true
	})
	return injected, 0
}

func stackOf(all bool) string {
	for size := 64 << 10; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, all); n < size {
			return string(b[:n])
		}
	}
}

// bubbleOf is the part of a goroutine's first line that names its bubble.
func bubbleOf(stack string) string {
	first, _, _ := strings.Cut(stack, "\n")
	_, name, _ := strings.Cut(first, "synctest bubble ")
	return "synctest bubble " + name
}

// stuckFutures is how many goroutines a bubble has left behind that wait for a
// future of Raft's, which may never return from one that was shut down; 0 if
// anything else was left.
func stuckFutures(bubble string) (n int) {
	for stack := range strings.SplitSeq(stackOf(true), "\n\n") {
		if bubbleOf(stack) != bubble {
			continue
		}
		if !strings.Contains(stack, "raft.(*deferError).Error") {
			return 0
		}
		n++
	}
	return n
}

// trace is what was done in one schedule, and when.
type trace struct {
	seed  uint64
	began time.Time
	lock  sync.Mutex
	lines []string
}

func (tr *trace) note(format string, args ...any) {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf("%12v  ", time.Since(tr.began).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

func (tr *trace) String() string {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	return fmt.Sprintf("UNDERSTUDY_SIM_SEED=%d\n%s\n", tr.seed, strings.Join(tr.lines, "\n"))
}

// sim is one group under one schedule.
type sim struct {
	*cluster
	*trace
	rng    *rand.Rand
	names  []string
	faults int
	loads  []func(s *sim, events int) // what producers do during a step
	law    invariants
	ctx    context.Context // of the operations in the background
	ops    sync.WaitGroup
}

// producer sends numbered events, and now and then one again.
type producer struct {
	name string
	n    uint64
	rng  *rand.Rand
	got  map[uint64]Receipt
}

func newProducer(name string, rng *rand.Rand) *producer {
	return &producer{name: name, rng: rand.New(rand.NewPCG(rng.Uint64(), 2)), got: make(map[uint64]Receipt)}
}

// event is the producer's nth: it gives no output, one or two.
func (p *producer) event(n uint64) Event {
	return Event{Producer: p.name, Sequence: n, Payload: fmt.Appendf(nil, "k%d %s %d", n*2654435761>>7%3, p.name, n)}
}

func newSim(t *testing.T, tr *trace, rng *rand.Rand, daemon func() host.Daemon) *sim {
	tr.began = time.Now()
	n := 3
	if rng.IntN(4) == 0 {
		n = 5
	}
	hot := rng.IntN(3) == 0
	verify := []VerifySync{VerifyTurns, VerifyAll, VerifyOff}[rng.IntN(3)]
	c := newCluster(t, n, daemon, func(cfg *Config) {
		cfg.SyncInterval = 500 * time.Millisecond
		cfg.SnapshotInterval, cfg.TrailingLogs = time.Second, 64
		cfg.Hot, cfg.VerifySync = hot, verify
	})
	s := &sim{cluster: c, trace: tr, rng: rng}
	for _, m := range c.f.Roster.Members {
		s.names = append(s.names, m.Name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.ctx = ctx
	t.Cleanup(func() { cancel(); s.ops.Wait() })
	s.note("%d members, hot %v, verify %s", n, hot, verify)
	return s
}

// step injects one to four faults while the producers send, repairs them, and
// checks that nothing that was promised was broken.
func (s *sim) step() {
	s.stepUnchecked()
	s.law.settled(s)
}

func (s *sim) stepUnchecked() {
	var load sync.WaitGroup
	for _, send := range s.loads {
		k := 3 + s.rng.IntN(8)
		load.Go(func() { send(s, k) })
	}
	for range 1 + s.rng.IntN(4) {
		time.Sleep(time.Duration(s.rng.IntN(30_000)) * time.Microsecond)
		at := s.names[s.rng.IntN(len(s.names))]
		if s.rng.IntN(5) < 3 {
			if a := s.leader(); a != "" {
				at = a
			}
		}
		f := &faultList[s.pick()]
		s.note("%s %s", f.name, at)
		f.do(s, at)
		s.faults++
		time.Sleep(time.Duration(s.rng.ExpFloat64() * float64(f.lasts)))
		s.law.holds(s)
	}
	s.repairAll()
	load.Wait()
}

func (p *producer) send(s *sim, k int) {
	for range k {
		if p.n > 0 && p.rng.IntN(6) == 0 {
			n := 1 + p.rng.Uint64N(min(p.n, 1000))
			again, err := s.deliver(p.event(n))
			if s.over.Load() {
				return
			}
			require.NoError(s.t, err)
			require.True(s.t, again.Duplicate)
			again.Duplicate = false
			want := p.got[n]
			if again.OutputData == nil {
				want.OutputData = nil // its outputs are not here yet, or not any more
			}
			require.Equal(s.t, want, again, "a duplicate's receipt")
			continue
		}
		p.n++
		r, err := s.deliver(p.event(p.n))
		if s.over.Load() {
			return
		}
		require.NoError(s.t, err)
		if r.Duplicate { // it was uncertain and sent again
			r.Duplicate = false
			if r.Outputs > 0 && r.OutputData == nil {
				r.OutputData = s.outputData(r)
			}
		}
		p.got[p.n] = r
		time.Sleep(time.Duration(p.rng.IntN(20_000)) * time.Microsecond)
	}
}

// outputData finds a receipt's outputs in what the group keeps.
func (s *sim) outputData(r Receipt) (data [][]byte) {
	s.eventually("the outputs of a receipt are kept", func() bool {
		for _, m := range s.members {
			if g := m.group(); g != nil {
				if outs, err := g.outs.Read(r.FirstOutput, int(r.Outputs)); err == nil && uint64(len(outs)) == r.Outputs {
					data = nil
					for i := range outs {
						data = append(data, outs[i].Payload)
					}
					return true
				}
			}
		}
		return s.over.Load()
	})
	return data
}

// leader is a member that serves, if any.
func (s *sim) leader() string {
	for _, name := range s.names {
		if s.members[name].serving() {
			return name
		}
	}
	return ""
}

// repairAll ends every fault: lines, disks, and members that are down.
func (s *sim) repairAll() {
	s.note("repair")
	s.sw.Heal()
	for _, name := range s.names {
		s.members[name].repair()
	}
	for _, name := range s.names {
		s.revive(name)
	}
}

// revive starts a member again that is down, or that has stopped by itself.
func (s *sim) revive(name string) {
	m := s.members[name]
	if g := m.group(); g != nil {
		if !m.dead.Load() && g.ctx.Err() == nil {
			return
		}
		s.note("%s had stopped: %v", name, g.Err())
		s.end(name, true)
	}
	s.start(name)
}

// down ends a member unless it is down already.
func (s *sim) down(name string, power bool) {
	if s.members[name].group() != nil {
		s.end(name, power)
	}
}

// background runs an operation on the active that may end in any way.
func (s *sim) background(op func(ctx context.Context, g *Group) error) {
	name := s.leader()
	if name == "" {
		return
	}
	g := s.members[name].group()
	s.ops.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
		defer cancel()
		if err := op(ctx, g); err != nil {
			s.note("%s: %v", name, err)
		}
	})
}
