package outputs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/outputs"
)

// Any order of changes, with a flipped byte now and then: what is read is right,
// damage is told of what is damaged, and nothing that was appended since is lost.
func TestAnyOrderOfChanges(t *testing.T) {
	for seed := range uint64(100) {
		flips := seed%2 == 1
		r := rand.New(rand.NewPCG(seed, 7))
		fs := durable.NewMem().Sub("o")
		keep := outputs.Retention{Bytes: 1 << 40, SegmentBytes: 1500}
		s, err := outputs.Open(fs, keep)
		require.NoError(t, err)
		var log []string
		ctx := func() string { return fmt.Sprintf("seed %d: %v", seed, log) }
		fresh := uint64(1) // from here on nothing was flipped since it was appended
		for range 60 {
			next := s.Next()
			switch op := r.IntN(9); {
			case op < 3:
				n := next + 1 + r.Uint64N(25)
				log = append(log, fmt.Sprintf("append %d-%d", next, n))
				require.NoError(t, s.Append(some(next, n)), ctx())
			case op == 3:
				log = append(log, "open")
				s, err = outputs.Open(fs, keep)
				require.NoError(t, err, ctx())
				fresh = min(fresh, s.Next())
			case op == 4:
				to := next - r.Uint64N(min(next, 100))
				log = append(log, fmt.Sprintf("truncate %d", to))
				require.NoError(t, s.Truncate(to), ctx())
				require.LessOrEqual(t, s.Next(), to, ctx())
				fresh = min(fresh, s.Next())
			case op == 5 && r.IntN(3) == 0:
				young := r.Uint64N(2 * next)
				log = append(log, fmt.Sprintf("prune %d", young))
				require.NoError(t, s.Prune(func(seq uint64) bool { return seq < young }), ctx())
			case op == 6 && flips:
				names, _ := fs.List(".")
				if len(names) > 0 {
					name := names[r.IntN(len(names))]
					f, _ := fs.Open(name, false)
					if size, _ := f.Size(); size > 0 {
						at := r.Int64N(size)
						var b [1]byte
						f.ReadAt(b[:], at)
						b[0] ^= 16
						f.WriteAt(b[:], at)
						log = append(log, fmt.Sprintf("flip %s at %d, open", name, at))
						s, err = outputs.Open(fs, keep)
						require.NoError(t, err, ctx())
						fresh = s.Next()
					}
				}
			case op == 7 && flips:
				to := next - r.Uint64N(min(next, 30))
				log = append(log, fmt.Sprintf("resume %d", to))
				_, err = s.Resume(to)
				require.NoError(t, err, ctx())
				require.Equal(t, to, s.Next(), ctx())
				fresh = min(fresh, s.Next())
			}
			for range 2 {
				if s.Next() <= s.Oldest() {
					continue
				}
				from := s.Oldest() + r.Uint64N(s.Next()-s.Oldest())
				got, err := s.Read(from, 1+r.IntN(60))
				var d *outputs.DamagedError
				if errors.As(err, &d) && flips {
					require.GreaterOrEqual(t, d.To, from, ctx())
					require.LessOrEqual(t, d.From, from, ctx())
					require.Less(t, d.To, s.Next(), ctx())
					if d.To >= fresh {
						t.Fatalf("read %d: %v, fresh from %d: %s", from, err, fresh, ctx())
					}
					if r.IntN(4) == 0 {
						log = append(log, fmt.Sprintf("mend %d-%d", d.From, d.To))
						require.NoError(t, mend(s, d), ctx())
						got, err := s.Read(from, 1)
						require.NoError(t, err, ctx())
						require.Len(t, got, 1)
					}
					continue
				}
				require.NoError(t, err, ctx())
				require.NotEmpty(t, got, ctx())
				if !reflect.DeepEqual(some(from, from+uint64(len(got))), got) {
					t.Fatal("wrong ", ctx())
				}
			}
		}
	}
}

// Wherever the disk dies, what was synced is there and nothing counts as damaged.
func TestDiskThatDiesAnywhere(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 9))
		disk := durable.NewMem()
		fs := disk.Sub("o")
		keep := outputs.Retention{Bytes: 1 << 40, SegmentBytes: 1500}
		var log []string
		ctx := func() string { return fmt.Sprintf("seed %d: %v", seed, log) }
		synced := uint64(1)
		for range 4 {
			s, err := outputs.Open(fs, keep)
			require.NoError(t, err, ctx())
			require.GreaterOrEqual(t, s.Next(), synced, "synced outputs are gone %s", ctx())
			for from := s.Oldest(); from < s.Next(); {
				got, err := s.Read(from, 100)
				require.NoError(t, err, ctx())
				require.NotEmpty(t, got, ctx())
				if !reflect.DeepEqual(some(from, from+uint64(len(got))), got) {
					t.Fatal("wrong ", ctx())
				}
				from += uint64(len(got))
			}
			s, err = outputs.Open(fs, keep)
			require.NoError(t, err)
			synced = min(synced, s.Next())
			left := r.IntN(120)
			disk.Hook = func(op, name string) error {
				if op == "read" || op == "open" {
					return nil
				}
				if left--; left < 0 {
					log = append(log, "DEAD at "+op+" "+name)
					return errors.New("dead")
				}
				return nil
			}
			for left >= 0 {
				next := s.Next()
				switch op := r.IntN(8); {
				case op < 4:
					n := next + 1 + r.Uint64N(25)
					log = append(log, fmt.Sprintf("append %d-%d", next, n))
					s.Append(some(next, n))
				case op == 4:
					if err := s.Sync(); err == nil {
						synced = next
						log = append(log, fmt.Sprintf("synced %d", next))
					}
				case op == 5 && r.IntN(3) == 0:
					to := next - r.Uint64N(min(next, 60))
					log = append(log, fmt.Sprintf("truncate %d", to))
					synced = min(synced, to)
					s.Truncate(to)
				case op == 6:
					// what a reader found damaged: any file
					names, _ := fs.List(".")
					var firsts []uint64
					for _, n := range names {
						if n != "repair" {
							firsts = append(firsts, firstOf(n))
						}
					}
					if len(firsts) > 0 {
						i := r.IntN(len(firsts))
						to := next
						if i+1 < len(firsts) {
							to = min(to, firsts[i+1])
						}
						if firsts[i] < to {
							log = append(log, fmt.Sprintf("patch %d-%d", firsts[i], to))
							s.Patch(some(firsts[i], to))
						}
					}
				default:
					left-- // time passes
				}
			}
			disk.Hook = nil
			if r.IntN(2) == 0 {
				disk.Crash()
			} else {
				disk.Tear(func() bool { return r.IntN(2) == 0 })
			}
			log = append(log, "crash")
		}
	}
}

// Everything at once, on a real disk.
func TestEverythingAtOnce(t *testing.T) {
	fs := durable.OS(t.TempDir())
	keep := outputs.Retention{Bytes: 1 << 20, SegmentBytes: 4000}
	s, err := outputs.Open(fs, keep)
	require.NoError(t, err)
	fill(t, s, 3000)
	for round := range 3 {
		require.NoError(t, s.Close())
		s, err = outputs.Open(fs, keep)
		require.NoError(t, err)
		var wg sync.WaitGroup
		stop := time.Now().Add(500 * time.Millisecond)
		run := func(f func(r *rand.Rand) error) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(uint64(round), uint64(time.Now().UnixNano())))
				for time.Now().Before(stop) {
					if err := f(r); err != nil {
						t.Error(err)
						return
					}
				}
			}()
		}
		for range 3 {
			run(func(r *rand.Rand) error {
				from := s.Oldest() + r.Uint64N(1+s.Next()-s.Oldest())
				got, err := s.Read(from, 1+r.IntN(200))
				if errors.As(err, new(*outputs.PrunedError)) {
					return nil
				}
				if err == nil && !reflect.DeepEqual(some(from, from+uint64(len(got))), got) && len(got) > 0 {
					return errors.New("wrong")
				}
				return err
			})
		}
		run(func(r *rand.Rand) error { return s.Sync() })
		var mu sync.Mutex // the archive's
		run(func(r *rand.Rand) error {
			mu.Lock()
			defer mu.Unlock()
			n := s.Next()
			return s.Append(some(n, n+1+r.Uint64N(20)))
		})
		run(func(r *rand.Rand) error {
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			n := s.Next()
			return s.Truncate(n - r.Uint64N(150))
		})
		run(func(r *rand.Rand) error {
			time.Sleep(20 * time.Millisecond)
			o := s.Oldest()
			return s.Prune(func(seq uint64) bool { return seq < 2*o+10 && o < 1500 })
		})
		run(func(r *rand.Rand) error {
			time.Sleep(3 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			names, err := fs.List(".")
			if err != nil {
				return err
			}
			var firsts []uint64
			for _, n := range names {
				if n != "repair" {
					firsts = append(firsts, firstOf(n))
				}
			}
			i := r.IntN(len(firsts))
			to := s.Next()
			if i+1 < len(firsts) {
				to = firsts[i+1]
			}
			if firsts[i] < to {
				s.Patch(some(firsts[i], to)) // perhaps it was pruned
			}
			return nil
		})
		wg.Wait()
	}
	require.NoError(t, s.Close())
}
