package standby

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/durable"
)

// mortal ends its process in the events that the test names.
type mortal struct {
	tally
	dies func(chain.Event) bool
	last func() // does not return before the process is gone
}

func (d *mortal) Process(ev chain.Event) ([][]byte, error) {
	if d.dies(ev) {
		d.last()
	}
	return d.tally.Process(ev)
}

// morgue is a cluster whose daemons end their processes.
type morgue struct {
	*cluster
	died  chan string // names, in order
	count atomic.Int32
	wg    sync.WaitGroup
}

// newMorgue makes one. dies says in which events of a member's.
func newMorgue(t *testing.T, members int, dies func(member string, ev chain.Event) bool, tune ...func(*Config)) *morgue {
	m := &morgue{died: make(chan string, 100)}
	tune = append(tune, func(cfg *Config) {
		cfg.New = func() host.Daemon {
			return &mortal{
				dies: func(ev chain.Event) bool { return dies(cfg.Member, ev) },
				last: func() {
					m.count.Add(1)
					m.died <- cfg.Member
					g := m.members[cfg.Member].group()
					for ; g == nil; g = m.members[cfg.Member].group() {
						time.Sleep(time.Millisecond) // it has just started
					}
					<-g.ctx.Done()
				},
			}
		}
	})
	m.cluster = newCluster(t, members, newTally, tune...)
	t.Cleanup(m.wg.Wait)
	return m
}

// bury waits for a death and ends that process. Its machine goes on.
func (m *morgue) bury() string {
	name := <-m.died
	m.end(name, false)
	return name
}

// supervise starts each process that died again after a while.
func (m *morgue) supervise(after time.Duration) {
	ctx := m.t.Context()
	m.wg.Go(func() {
		for {
			select {
			case name := <-m.died:
				m.wg.Go(func() {
					m.end(name, false)
					select {
					case <-time.After(after):
						m.start(name)
					case <-ctx.Done():
					}
				})
			case <-ctx.Done():
				return
			}
		}
	})
}

func die(_ string, ev chain.Event) bool { return string(ev.Payload) == "die" }

// An event that ends the process takes two of them and is then refused, whatever
// the number of members and however soon processes come back; all else is kept.
func TestDeadlyEventIsRefused(t *testing.T) {
	for _, members := range []int{1, 3, 5} {
		for _, after := range []time.Duration{time.Millisecond, time.Second, 8 * time.Second} {
			t.Run(fmt.Sprintf("%d members, %v", members, after), func(t *testing.T) {
				simulate(t, func(t *testing.T) {
					m := newMorgue(t, members, die)
					m.supervise(after)
					m.must("p", 1, "x")
					r := m.must("p", 2, "die")
					require.True(t, r.Refused)
					require.Contains(t, r.Reason, "processes died in this event")
					require.EqualValues(t, 2, m.count.Load())
					require.False(t, m.must("p", 3, "y").Refused)
					require.True(t, m.must("p", 2, "die").Duplicate)
					m.eventually("all are back", func() bool {
						for _, x := range m.members {
							if x.group() == nil {
								return false
							}
						}
						return true
					})
					m.eventually("it is done with", func() bool { return len(m.active().accusations()) == 0 })
					m.check()
				})
			})
		}
	}
}

// Of two members that died only one comes back, whichever: it has not the word
// of the other, whose silence counts after a while. Other events go on meanwhile.
func TestSilenceCounts(t *testing.T) {
	for back := range 2 {
		t.Run(fmt.Sprint(back), func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				m := newMorgue(t, 3, die)
				m.must("p", 1, "x")
				ended := make(chan string, 2)
				m.wg.Go(func() {
					ended <- m.bury()
					ended <- m.bury()
				})
				receipt := make(chan Receipt, 1)
				m.wg.Go(func() { receipt <- m.must("p", 2, "die") })
				dead := []string{<-ended, <-ended}
				require.NotEqual(t, dead[0], dead[1])
				m.start(dead[back])
				start := time.Now()
				m.must("q", 1, "y")
				require.Less(t, time.Since(start), hearing, "another producer's event waits as well")
				r := <-receipt
				require.True(t, r.Refused)
				require.Contains(t, r.Reason, dead[1-back]+" (was active then and has not come back)")
				require.EqualValues(t, 2, m.count.Load())
				m.start(dead[1-back])
				m.must("p", 3, "z")
				m.check()
			})
		})
	}
}

// A process that is killed while it is in an event says nothing against it: the
// next one processes it, and no later death adds up with this one.
func TestDeathOfAnInnocent(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var kill atomic.Bool
		m := newMorgue(t, 3, func(_ string, ev chain.Event) bool {
			return string(ev.Payload) == "slow" && kill.CompareAndSwap(true, false)
		})
		m.supervise(time.Second)
		for n := uint64(1); n <= 3; n++ {
			kill.Store(true)
			require.False(t, m.must("p", n, "slow").Refused)
			m.eventually("it is cleared", func() bool {
				for _, x := range m.members {
					if x.group() == nil || len(x.group().accusations()) > 0 {
						return false
					}
				}
				return true
			})
		}
		require.EqualValues(t, 3, m.count.Load())
		m.check()
	})
}

// The same where the event comes to an earlier place than where it was when the
// process was killed: what was in flight before it was lost with that process.
func TestDeathOfAnInnocentBehindLostEvents(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var kill atomic.Bool
		m := newMorgue(t, 3, func(_ string, ev chain.Event) bool {
			return string(ev.Payload) == "slow" && kill.CompareAndSwap(true, false)
		}, func(cfg *Config) { cfg.EntrySteps = 4 })
		m.must("p", 1, "x")
		m.settled()
		old := m.active()
		m.sw.Isolate(old.cfg.Member, m.others(old.cfg.Member)...)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range 20 {
			go old.Deliver(ctx, Event{Payload: []byte("lost")})
		}
		time.Sleep(10 * time.Millisecond)
		kill.Store(true)
		go old.Deliver(ctx, Event{Producer: "p", Sequence: 2, Payload: []byte("slow")})
		require.Equal(t, old.cfg.Member, m.bury())
		m.sw.Heal()
		m.active()
		m.start(old.cfg.Member)
		m.eventually("the death is known", func() bool { return len(m.active().accusations()) == 1 })
		require.False(t, m.must("p", 2, "slow").Refused)
		m.settled()
		time.Sleep(5 * time.Second)
		for _, x := range m.members {
			require.Empty(t, x.group().accusations())
		}
	})
}

// A member that was active long before a death, and is gone for good, says
// nothing by its silence.
func TestLongDeadAccuseNobody(t *testing.T) {
	simulate(t, func(t *testing.T) {
		var kill atomic.Bool
		m := newMorgue(t, 5, func(_ string, ev chain.Event) bool {
			return string(ev.Payload) == "slow" && kill.CompareAndSwap(true, false)
		})
		m.supervise(time.Second)
		m.must("p", 1, "x")
		m.kill(m.active().cfg.Member)
		m.must("p", 2, "x")
		second := m.active().cfg.Member
		m.kill(second)
		m.must("p", 3, "x")
		m.start(second)
		kill.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m.active().Deliver(ctx, Event{Producer: "p", Sequence: 4, Payload: []byte("slow")})
		m.eventually("the death is known", func() bool { return len(m.active().accusations()) == 1 })
		require.False(t, m.must("p", 4, "slow").Refused)
		require.EqualValues(t, 1, m.count.Load())
		m.check()
	})
}

// Without a number a deadly event is a new one each time it is sent; its bytes
// tell. What the group refused once it refuses for a day, then tries again.
func TestDeadlyEventWithoutANumber(t *testing.T) {
	simulate(t, func(t *testing.T) {
		m := newMorgue(t, 3, die)
		m.supervise(time.Second)
		m.must("p", 1, "x")
		for range 3 {
			require.True(t, m.must("", 0, "die").Refused)
		}
		require.EqualValues(t, 2, m.count.Load())
		for _, x := range m.members {
			x.ahead.Store(int64(25 * time.Hour)) // for all alike
		}
		require.Empty(t, m.active().accusations())
		require.True(t, m.must("", 0, "die").Refused)
		require.EqualValues(t, 4, m.count.Load())
		m.check()
	})
}

// A committed event that ends a standby's process whenever that replays it: the
// member says so, is not promoted, runs on, and takes part again by a checkpoint
// beyond the event.
func TestDeadlyReplay(t *testing.T) {
	simulate(t, func(t *testing.T) {
		weak := ""
		m := newMorgue(t, 3, func(member string, ev chain.Event) bool { return member == weak && string(ev.Payload) == "hard" },
			func(cfg *Config) { cfg.Hot, cfg.SyncInterval = true, time.Hour })
		a := m.active().cfg.Member
		for name := range m.members {
			if name != a {
				weak = name
			}
		}
		m.supervise(time.Second)
		m.must("p", 1, "x")
		m.must("p", 2, "hard")
		var g *Group
		m.eventually("the member refuses the replay", func() bool {
			g = m.members[weak].group()
			return g != nil && g.node.Load() != nil && g.barred() != nil
		})
		require.EqualValues(t, 2, m.count.Load())
		require.ErrorIs(t, g.eligible(), errDeadly)
		_, _, err := g.node.Load().buildHost(t.Context(), nil)
		require.ErrorIs(t, err, errDeadly)
		require.NotErrorIs(t, err, errReplay, "that would be a difference in history")
		m.eventually("the others know", func() bool {
			for _, row := range m.active().Status().Members {
				if row.Name == weak {
					return !row.Eligible && row.Reason == g.eligible().Error()
				}
			}
			return false
		})
		m.must("p", 3, "y")
		m.check()
		_, err = m.active().Sync(t.Context())
		require.NoError(t, err)
		m.eventually("it is well again", func() bool { return g.eligible() == nil && g.node.Load().replica.trouble.Load() == nil })
		require.NoError(t, m.active().StepDown(t.Context(), time.Minute))
		m.must("p", 4, "z")
		require.EqualValues(t, 2, m.count.Load())
		m.check()
	})
}

// The same in the replay that verifies a checkpoint: the member takes it over
// without, and another one verifies it.
func TestDeadlyVerification(t *testing.T) {
	simulate(t, func(t *testing.T) {
		weak := ""
		m := newMorgue(t, 3, func(member string, ev chain.Event) bool { return member == weak && string(ev.Payload) == "hard" },
			func(cfg *Config) { cfg.VerifySync, cfg.SyncInterval = VerifyAll, time.Hour })
		a := m.active().cfg.Member
		for name := range m.members {
			if name != a {
				weak = name
			}
		}
		m.supervise(time.Second)
		m.must("p", 1, "hard")
		m.active().Sync(t.Context()) // the weak one may be away when it ends
		m.must("p", 2, "y")
		m.eventually("it has the checkpoint", func() bool {
			g := m.members[weak].group()
			return g != nil && m.count.Load() == 2 && g.node.Load() != nil && g.node.Load().replica.restoredSeq.Load() > 0
		})
		g := m.members[weak].group()
		m.eventually("it is well", func() bool { return g.eligible() == nil && g.node.Load().replica.trouble.Load() == nil })
		require.EqualValues(t, 2, m.count.Load())
		m.check()
	})
}

// sticky is a file system whose scratch pages may hang with their disk.
type sticky struct {
	durable.FS
	hang *atomic.Pointer[hang]
}

// hang is where they hang, and until when.
type hang struct {
	in    string
	until chan struct{}
}

type stickyPage struct {
	durable.Scratch
	hang *atomic.Pointer[hang]
}

func (s sticky) Sub(dir string) durable.FS { return sticky{s.FS.Sub(dir), s.hang} }

func (s sticky) Scratch(name string, size int64) (durable.Scratch, error) {
	p, err := s.FS.Scratch(name, size)
	return stickyPage{p, s.hang}, err
}

func (p stickyPage) wait(where string) {
	if h := p.hang.Load(); h != nil && h.in == where {
		<-h.until
	}
}

func (p stickyPage) Touch() error {
	p.wait("beginning")
	return p.Scratch.Touch()
}

func (p stickyPage) WriteAt(b []byte, off int64) (int, error) {
	if p.wait("note"); len(b) == 4 { // the magic goes
		p.wait("clearing")
	}
	return p.Scratch.WriteAt(b, off)
}

// A disk that takes no note any more, before an event, between two or after the
// last, ends the role, and no event is blamed for it.
func TestHangingNoteBlamesNoEvent(t *testing.T) {
	for _, in := range []string{"beginning", "note", "clearing"} {
		t.Run(in, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				hangs := make(map[string]*atomic.Pointer[hang])
				c := newCluster(t, 3, newTally, func(cfg *Config) {
					hangs[cfg.Member] = new(atomic.Pointer[hang])
					cfg.Env.FS = sticky{cfg.Env.FS, hangs[cfg.Member]}
				})
				c.must("p", 1, "x")
				old := c.active()
				until := make(chan struct{})
				hangs[old.cfg.Member].Store(&hang{in, until})
				_, err := old.Deliver(t.Context(), Event{Producer: "p", Sequence: 2, Payload: []byte("y")})
				require.ErrorIs(t, err, ErrNotActive)
				c.eventually("it says why", func() bool {
					return strings.Contains(fmt.Sprint(old.Status().Notes), "the disk does not take the note")
				})
				require.Zero(t, old.hung.Load())
				require.False(t, c.must("p", 2, "y").Refused)
				require.NotSame(t, old, c.active())
				close(until)
				hangs[old.cfg.Member].Store(nil)
				c.must("p", 3, "z")
				c.check()
			})
		})
	}
}
