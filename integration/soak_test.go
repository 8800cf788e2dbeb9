package integration

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/internal/faultproxy"
	"github.com/understudy-ha/understudy/internal/faultseam"
)

var (
	soakFor    = flag.Duration("soak", 0, "how long the soak goes on, 0: it is skipped")
	soakRounds = flag.Int("rounds", 0, "how many faults the soak has, instead of a time")
	soakFaults = flag.String("faults", "", "faults of the soak, separated by commas; all if it is not said")
)

// soak is one group that lives through one fault after another, and what was
// compared so far. It keeps nothing that grows with time but what the faults
// were.
type soak struct {
	*stage
	mesh    *faultproxy.Mesh // nil if no fault needs it
	load    *stream
	faults  []trouble
	deck    []trouble // to come
	referee *referee
	first   continuity.Held // the head of the start, for long proofs
	held    continuity.Held // the head of the last comparison
	usage   *usage
	began   time.Time
	tally   map[string]int
	events  uint64
	proofs  int
	terms   uint64
}

// Every fault there is, mixed by a seed, hits one group under the load of
// several numbered producers. After each fault all that was acknowledged since
// the last time is compared with one process, the members with each other, and
// a proof from the head of then is verified; no member grows.
func TestSoak(t *testing.T) {
	if *soakFor <= 0 && *soakRounds <= 0 {
		t.Skip("it goes on for as long as it is told: -soak 1h, or -faults kill -rounds 500")
	}
	if end, ok := t.Deadline(); ok && time.Until(end) < *soakFor+2*patience {
		t.Fatalf("the tests' own timeout would end it: add -timeout %v", *soakFor+10*time.Minute)
	}
	s := newSoak(t, chosen(t, *soakFaults))
	for n := 1; n <= *soakRounds || time.Since(s.began) < *soakFor; n++ {
		say("%4d %8s  %s", n, time.Since(s.began).Round(time.Second), s.round())
	}
	s.sum()
}

// A few faults of the soak, whichever come, with each store and profile.
func TestMixedFaults(t *testing.T) {
	rounds := 3
	if raced || testing.Short() {
		rounds = 1
	}
	for name, flags := range map[string][]string{
		"as it comes": nil, "boltdb": {"--raft-store", "boltdb"}, "lan": {"--profile", "lan"}, "wan": {"--profile", "wan"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSoak(t, chosen(t, ""), flags...)
			for range rounds {
				t.Log(s.round())
			}
			s.sum()
		})
	}
}

func newSoak(t *testing.T, faults []trouble, flags ...string) *soak {
	t.Helper()
	seed := uint64(number(t, "UNDERSTUDY_SOAK_SEED", int(rand.Uint64()>>1)))
	t.Logf("UNDERSTUDY_SOAK_SEED=%d", seed)
	say("soak: UNDERSTUDY_SOAK_SEED=%d", seed)
	s := &soak{faults: faults, tally: make(map[string]int)}
	var needs means
	for _, f := range faults {
		needs |= f.needs
	}
	lasts := time.Hour
	if end, ok := t.Deadline(); ok {
		lasts = time.Until(end)
	}
	s.stage = newStage(t, plan{
		daemon: []string{"ledger", "kv", "wordcount"}[seed%3], seed: seed, lasts: *soakFor + lasts, flags: append([]string{"--stall-timeout", "2s"}, flags...),
		before: func(st *stage) {
			if needs&disks != 0 {
				ownDisks(st)
			}
			if needs&proxies != 0 {
				var before func(*stage)
				s.mesh, before = meshed(t)
				before(st)
			}
			if needs&seam != 0 {
				st.breakable()
			}
		},
	})
	s.load = newStream(s.stage, seed)
	t.Cleanup(s.load.stop)
	s.usage, s.referee, s.began = newUsage(s.members), s.stage.referee(), time.Now()
	s.compare("the start")
	s.first = s.held
	return s
}

// next gives every fault once, in any order, before any comes again.
func (s *soak) next() trouble {
	if len(s.deck) == 0 {
		s.deck = slices.Clone(s.faults)
		s.rng.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	f := s.deck[0]
	s.deck = s.deck[1:]
	return f
}

// round is one fault and the comparison after it.
func (s *soak) round() string {
	s.t.Helper()
	f := s.next()
	s.tally[f.name]++
	_, st := s.active()
	start := time.Now()
	s.load.resume()
	s.load.until(s.t, "waiting for a group at work", s.load.acked()+20+s.rng.IntN(100))
	what := f.do(s)
	s.mend()
	s.load.until(s.t, "waiting for service after "+f.name, s.load.acked()+20)
	sum := s.compare(f.name)
	_, now := s.active()
	s.terms = now.Term
	return fmt.Sprintf("%-18s %-34s term %d to %d, %s, %.1f s", f.name, what, st.Term, now.Term, sum, time.Since(start).Seconds())
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// breakable has the members take faults of the disk and the clock from here.
func (s *stage) breakable() {
	require.NoError(s.t, faultseam.Mark(s.groupDir(), s.founding.Origin()))
	for _, m := range s.members {
		m.Piped = true
		m.Args = append(m.Args, "--drill-faults")
	}
}

// mend ends every fault and waits until all members are well again.
func (s *soak) mend() {
	s.t.Helper()
	if s.mesh != nil {
		s.mesh.All(faultproxy.Rule{})
	}
	for _, m := range s.members {
		m.unbreak()
	}
	s.await("waiting for all members to be well again", func(ctx context.Context) error {
		for _, m := range s.members {
			if !m.Running() { // also one whose disk was full ends by itself
				require.NoError(s.t, m.Start())
			}
		}
		return s.well(ctx)
	})
}

// compare pauses the load, waits for the last receipt, and compares.
func (s *soak) compare(what string) string {
	s.t.Helper()
	all := s.load.pause(s.t)
	outputs := s.referee.run(all)
	s.counts(s.referee)
	for _, m := range s.members {
		s.keeps(m, outputs)
	}
	s.activeAnswers(s.referee.alone)
	s.events += uint64(len(all))

	var held continuity.Held
	heads := make(map[string]bool)
	_, st := s.active()
	for _, m := range s.members {
		s.await("asking for a head", func(ctx context.Context) error {
			head, err := m.client.Head(ctx, st.Seq+1)
			if err == nil {
				heads[string(head)] = true
				held, err = continuity.ParseHead(head, s.founding)
			}
			return err
		})
	}
	require.Len(s.t, heads, 1, "after %s the members have different histories: %v", what, heads)
	from := s.held
	if s.rng.IntN(20) == 0 {
		from = s.first
	}
	handoffs := 0
	if from.Size > 0 {
		s.await("fetching a proof", func(ctx context.Context) error {
			bundle, err := s.members[s.rng.IntN(len(s.members))].client.Prove(ctx, from.Size)
			if err != nil {
				return err
			}
			v, err := continuity.Verify(bundle, from, s.founding)
			require.NoErrorf(s.t, err, "after %s the proof from size %d does not hold", what, from.Size)
			if v.To < held.Size { // a signed head is given for a while
				return fmt.Errorf("it goes to %d only", v.To)
			}
			handoffs = len(v.Handoffs)
			return nil
		})
		s.proofs++
	}
	s.held = held
	return fmt.Sprintf("%d events, proof %d to %d with %d handoffs, %s", len(all), from.Size, held.Size, handoffs, s.usage.look(s.t))
}

// sum compares once more, with every member's state, and tells what there was.
func (s *soak) sum() {
	s.t.Helper()
	s.answers(s.referee.alone)
	s.compare("the end")
	names := make([]string, 0, len(s.tally))
	faults := 0
	for name, n := range s.tally {
		names = append(names, fmt.Sprintf("%s %d", name, n))
		faults += n
	}
	slices.Sort(names)
	say("soak: %v, %d faults (%s), %d terms", time.Since(s.began).Round(time.Second), faults, strings.Join(names, ", "), s.terms)
	say("soak: %d events acknowledged, 0 lost, 0 doubled, one history, %d proofs verified", s.events, s.proofs)
	say("soak: at most %s", s.usage.sum())
}
