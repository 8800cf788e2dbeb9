package standby

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// scenario is a group that a script plays with.
type scenario struct {
	t      *testing.T
	c      *cluster
	victim string
	first  uint64 // term of the first active
	held   map[string]continuity.Held
	bg     sync.WaitGroup

	mu   sync.Mutex
	sent map[string]string // payload by producer and number, for resending
}

// scenarioVerbs are the commands; each returns what it prints.
var scenarioVerbs = map[string]func(sc *scenario, args []string) string{
	// members N [key=value …]: make a group. a serves at first.
	"members": func(sc *scenario, args []string) string {
		n, _ := sc.span(args[0])
		daemon, alone, tune, ttl := sc.options(args[1:])
		f := testkit.Founding(int(n))
		if ttl > 0 {
			f.Settings.ProducerTTL = ttl
		}
		sc.c = newClusterOf(sc.t, f, daemon, tune)
		sc.c.alone = alone
		sc.moveTo("a")
		sc.first = sc.c.active().Status().Term
		return ""
	},
	// active NAME: have NAME serve.
	"active": func(sc *scenario, args []string) string { sc.moveTo(args[0]); return "" },

	// deliver PRODUCER N[..M] [PAYLOAD]: send until the outcome is certain.
	"deliver": func(sc *scenario, args []string) string { return tallied(sc.deliver(args)) },
	// load PRODUCER N..M [PAYLOAD]: the same in the background, 1 ms apart. join waits.
	"load": func(sc *scenario, args []string) string {
		sc.bg.Go(func() {
			from, to := sc.span(args[1])
			for n := from; n <= to; n++ {
				sc.deliver(append([]string{args[0], fmt.Sprint(n)}, args[2:]...))
				time.Sleep(time.Millisecond)
			}
		})
		return ""
	},
	"join": func(sc *scenario, _ []string) string { sc.bg.Wait(); return "" },
	// try NAME PRODUCER N [PAYLOAD]: send once, to one member.
	"try": func(sc *scenario, args []string) string {
		ev := sc.event(args[1], args[2], args[3:])
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		name := sc.member(args[0])
		r, err := sc.c.members[name].group().Deliver(ctx, ev)
		if err == nil {
			sc.c.mu.Lock()
			sc.c.acked = append(sc.c.acked, ack{ev, r, name})
			sc.c.mu.Unlock()
		}
		return verdict(r, err)
	},

	"kill": func(sc *scenario, args []string) string {
		return sc.each(args, func(name string) { sc.c.end(name, false) })
	},
	"cut": func(sc *scenario, args []string) string {
		return sc.each(args, func(name string) { sc.c.end(name, true) })
	},
	"start": func(sc *scenario, args []string) string {
		for _, name := range sc.hit(args) {
			m := sc.c.members[name]
			g, err := Open(sc.c.config(name))
			if err != nil {
				return err.Error()
			}
			m.up.Store(g)
		}
		return ""
	},
	// wipe NAME: a new, empty disk in a machine that is down.
	"wipe": func(sc *scenario, args []string) string {
		return sc.each(args, func(name string) { sc.c.members[name] = newMachine(name) })
	},
	// rollback NAME: two starts later its disk is put back to what it was.
	"rollback": func(sc *scenario, args []string) string {
		return sc.each(args, func(name string) {
			m := sc.c.members[name]
			old, err := durable.ReadSealed(m.fs.Sub("data"), identityFile, int64(identitySize))
			require.NoError(sc.t, err)
			for range 2 {
				sc.c.kill(name)
				sc.c.start(name)
				sc.c.settled()
			}
			sc.c.kill(name)
			require.NoError(sc.t, durable.WriteSealed(m.fs.Sub("data"), identityFile, old))
			sc.c.start(name)
		})
	},
	"isolate": func(sc *scenario, args []string) string {
		return sc.each(args, func(name string) { sc.c.sw.Isolate(name, sc.names()...) })
	},
	"heal": func(sc *scenario, _ []string) string { sc.c.sw.Heal(); return "" },
	// fail NAME WHAT: writes to WHAT (raft, data/history …) fail. repair ends it.
	"fail": func(sc *scenario, args []string) string {
		sc.c.members[sc.hit(args[:1])[0]].fail(args[1])
		return ""
	},
	"repair": func(sc *scenario, args []string) string {
		return sc.each(args, func(name string) { sc.c.members[name].repair() })
	},
	// clock NAME DURATION: set a member's wall clock wrong by so much.
	"clock": func(sc *scenario, args []string) string {
		d, err := time.ParseDuration(args[1])
		require.NoError(sc.t, err)
		sc.c.members[sc.member(args[0])].ahead.Store(int64(d))
		return ""
	},
	"wait": func(sc *scenario, args []string) string {
		d, err := time.ParseDuration(args[0])
		require.NoError(sc.t, err)
		time.Sleep(d)
		return ""
	},

	"switchover": func(sc *scenario, args []string) string {
		a := sc.c.active()
		to := ""
		if len(args) > 0 {
			to = sc.member(args[0])
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := a.Switchover(ctx, to); err != nil {
			return kind(err)
		}
		return "moved"
	},
	"stepdown": func(sc *scenario, _ []string) string {
		a := sc.c.active()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.StepDown(ctx, 10*time.Second); err != nil {
			return kind(err)
		}
		return ""
	},
	// sync: how each member came out of it.
	"sync": func(sc *scenario, _ []string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		res, err := sc.c.active().Sync(ctx)
		if err != nil {
			return kind(err)
		}
		var words []string
		for _, s := range res.Members {
			w, _, _ := strings.Cut(s, ":")
			if strings.HasPrefix(w, "restored") {
				w = "behind"
			}
			words = append(words, w)
		}
		sort.Strings(words)
		return tallied(words)
	},

	// roles: how many of each.
	"roles": func(sc *scenario, _ []string) string {
		var words []string
		for _, name := range sc.names() {
			g := sc.c.members[name].group()
			switch {
			case g == nil:
				words = append(words, "down")
			case g.ctx.Err() != nil:
				words = append(words, "stopped")
			case g.quarantine.Load() != nil:
				words = append(words, "quarantined")
			default:
				words = append(words, string(g.node.Load().role.Load().role))
			}
		}
		sort.Strings(words)
		return tallied(words)
	},
	// state: the daemon's answer to a query.
	"state": func(sc *scenario, _ []string) string {
		ans, err := sc.c.active().Query(context.Background(), []byte("state"), false)
		if err != nil {
			return kind(err)
		}
		return string(ans.Data)
	},
	// session PRODUCER: the last number that the group has.
	"session": func(sc *scenario, args []string) string {
		last, known, err := sc.c.active().Session(context.Background(), args[0])
		if err != nil {
			return kind(err)
		}
		return fmt.Sprintf("%d %v", last, map[bool]string{true: "known", false: "unknown"}[known])
	},
	// outputs N..M: from any member's disk.
	"outputs": func(sc *scenario, args []string) string {
		sc.c.settled()
		from, to := sc.span(args[0])
		outs, err := sc.c.active().readOutputs(from, int(to-from)+1)
		if err != nil {
			return kind(err)
		}
		var lines []string
		for _, o := range outs {
			lines = append(lines, fmt.Sprintf("%d: %s", o.Number, o.Payload))
		}
		return strings.Join(lines, "\n")
	},
	// history: the promotions since the group was made, oldest first.
	"history": func(sc *scenario, _ []string) string {
		h, err := sc.c.active().History(context.Background(), 100)
		require.NoError(sc.t, err)
		var lines []string
		for i := len(h) - 1; i >= 0; i-- {
			if h[i].Term > sc.first {
				lines = append(lines, fmt.Sprintf("%s, %d replayed", h[i].Reason, h[i].Replayed))
			}
		}
		return strings.Join(lines, "\n")
	},
	// journal: steps kept, and whether a replay agreed with the newest checkpoint.
	"journal": func(sc *scenario, _ []string) string {
		var steps int
		var refs []fsm.CheckpointRef
		sc.c.active().node.Load().machine.Read(func(s *fsm.State) { steps, _ = s.JournalSize(); refs = s.Checkpoints() })
		return fmt.Sprintf("%d steps, newest checkpoint verified: %v", steps, refs[len(refs)-1].Verified())
	},
	// hold NAME / prove NAME: keep the head of now, prove later that history continues it.
	"hold": func(sc *scenario, args []string) string {
		h := sc.c.settled()
		sc.held[args[0]] = continuity.Held{Size: h.Size(), Hash: h.Hash}
		return ""
	},
	"prove": func(sc *scenario, args []string) string {
		h := sc.held[args[0]]
		bundle, err := proof(context.Background(), sc.c.active(), h.Size)
		if err != nil {
			return kind(err)
		}
		v, err := continuity.Verify(bundle, h, sc.c.f)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("continuous, %d handoffs", len(v.Handoffs))
	},
	// refused NAME: wait until the others say that they do not let it in.
	"refused": func(sc *scenario, args []string) string {
		name := sc.member(args[0])
		sc.c.eventually(name+" is refused", func() bool {
			for _, r := range sc.c.active().net.Refusals() {
				if r.Member == name {
					return true
				}
			}
			return false
		})
		return ""
	},
	// check: compare everything that every member keeps with one daemon alone.
	"check": func(sc *scenario, _ []string) string { sc.c.check(); return "holds" },
}

func (sc *scenario) each(args []string, f func(name string)) string {
	for _, name := range sc.hit(args) {
		f(name)
	}
	return ""
}

// moveTo has a member serve, whoever won the election.
func (sc *scenario) moveTo(name string) {
	for range 10 {
		a := sc.c.active()
		if a.cfg.Member == name {
			sc.c.settled()
			return
		}
		a.Switchover(context.Background(), name)
		time.Sleep(time.Second)
	}
	require.Fail(sc.t, "cannot be made active", name)
}

// event makes an event; the payload is by default what was sent under that
// number before, else a text that follows from it.
func (sc *scenario) event(producer, number string, payload []string) Event {
	n, _ := sc.span(number)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	text, key := strings.Join(payload, " "), producer+"/"+number
	if text == "" {
		text = sc.sent[key]
	}
	if text == "" {
		text = "event " + number
	}
	if sc.sent[key] == "" {
		sc.sent[key] = text
	}
	if producer == "-" {
		return Event{Payload: []byte(text)}
	}
	return Event{Producer: producer, Sequence: n, Payload: []byte(text)}
}

func (sc *scenario) deliver(args []string) (lines []string) {
	from, to := sc.span(args[1])
	for n := from; n <= to; n++ {
		r, err := sc.c.deliver(sc.event(args[0], fmt.Sprint(n), args[2:]))
		lines = append(lines, verdict(r, err))
	}
	return lines
}

func verdict(r Receipt, err error) string {
	switch {
	case err != nil:
		return kind(err)
	case r.Duplicate:
		return "duplicate"
	case r.Rejected:
		return "rejected: " + r.Reason
	case r.Refused:
		return "refused by the host"
	}
	return "acknowledged"
}

// kind names an error without what depends on chance.
func kind(err error) string {
	var gap *GapError
	var refused *RefusedError
	switch {
	case errors.As(err, &gap):
		return gap.Error()
	case errors.As(err, &refused):
		return "refused"
	}
	for _, e := range []error{ErrNumberTaken, ErrUncertain, ErrNotActive, ErrBusy, ErrSessionExpired, ErrOldDuplicate, ErrBadEvent, ErrTooLarge} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return err.Error()
}
