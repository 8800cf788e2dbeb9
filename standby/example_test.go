package standby_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/standby"
)

// Tally is a daemon: events are numbers, the output of each is the sum so far.
type Tally struct {
	Sum int64
}

func (t *Tally) Name() string { return "tally" }

func (t *Tally) Process(ev chain.Event) ([][]byte, error) {
	n, err := strconv.ParseInt(string(ev.Payload), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%.20q is no number", ev.Payload) // rejected, and recorded as such
	}
	t.Sum += n
	return [][]byte{strconv.AppendInt(nil, t.Sum, 10)}, nil
}

func (t *Tally) Snapshot() ([]byte, error)       { return json.Marshal(t) }
func (t *Tally) Restore(state []byte) error      { return json.Unmarshal(state, t) }
func (t *Tally) Query(_ []byte) ([]byte, error)  { return strconv.AppendInt(nil, t.Sum, 10), nil }
func (t *Tally) OnControl(c host.Control)        {} // told of activation, drain, backpressure
func (t *Tally) Requirements() host.Requirements { return host.Requirements{} }

// open starts the member whose directory understudy init has made.
func open(dir string) (*standby.Group, error) {
	m, err := config.Load(filepath.Join(dir, "member.yaml"), nil)
	if err != nil {
		return nil, err
	}
	cfg, err := m.Standby(func() host.Daemon { return new(Tally) }, slog.New(slog.DiscardHandler), "1.0")
	if err != nil {
		return nil, err
	}
	return standby.Open(cfg)
}

// members are the handles on a group. In a real one each machine has its own,
// and clients use package standby/client, which does what is done here by hand.
type members []*standby.Group

// onActive has the active do something, whoever that is, until it has done it.
// Only what may be done twice may be tried twice: numbered events may.
func (ms members) onActive(ctx context.Context, f func(*standby.Group) error) {
	for err := error(standby.ErrNotActive); err != nil; time.Sleep(20 * time.Millisecond) {
		for _, g := range ms {
			if err = f(g); !errors.Is(err, standby.ErrNotActive) {
				break
			}
		}
		if err != nil && ctx.Err() != nil {
			log.Fatal(err)
		}
	}
}

func (ms members) deliver(ctx context.Context, n uint64, payload string) (r standby.Receipt) {
	ms.onActive(ctx, func(g *standby.Group) (err error) {
		r, err = g.Deliver(ctx, standby.Event{Producer: "till-7", Sequence: n, Payload: []byte(payload)})
		return err
	})
	return r
}

// A service that keeps a sum, on three members: it takes events, moves to
// another member, and shows that nothing was lost on the way.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// understudy init --group sums --members a=…,b=…,c=…
	dirs, remove := initGroup("sums", "a", "b", "c")
	defer remove()
	var ms members
	for _, dir := range dirs {
		g, err := open(dir)
		if err != nil {
			log.Fatal(err)
		}
		defer g.Close(ctx)
		ms = append(ms, g)
	}

	var last standby.Receipt
	for i, payload := range []string{"3", "4", "many"} {
		last = ms.deliver(ctx, uint64(i+1), payload)
		fmt.Printf("event %d: outputs %q, rejected %v\n", last.Sequence, last.OutputData, last.Rejected)
	}
	fmt.Println("because", last.Reason)

	// Whoever wants to check later keeps one line.
	founding, err := chain.ParseFounding(ms[0].Founding())
	if err != nil {
		log.Fatal(err)
	}
	var head chain.Head
	ms.onActive(ctx, func(g *standby.Group) (err error) {
		head, err = g.HeadAt(last.Seq + 1)
		return err
	})
	line := continuity.FormatHead(founding.Group, founding.Origin(), head)

	// The role moves to the member that is furthest.
	ms.onActive(ctx, func(g *standby.Group) error {
		_, err := g.Switchover(ctx, "")
		return err
	})
	r := ms.deliver(ctx, 4, "10")
	fmt.Printf("event %d: outputs %q, in a later term: %v\n", r.Sequence, r.OutputData, r.Term > last.Term)
	again := ms.deliver(ctx, 4, "10")
	fmt.Println("sent again: duplicate", again.Duplicate, "- same link", again.Link == r.Link)

	var answer standby.Answer
	var bundle []byte
	ms.onActive(ctx, func(g *standby.Group) (err error) {
		answer, err = g.Query(ctx, nil, false)
		return err
	})
	fmt.Printf("sum %s\n", answer.Data)
	ms.onActive(ctx, func(g *standby.Group) (err error) {
		bundle, _, err = g.Prove(ctx, head.Size()) // one bundle: there were few handoffs
		return err
	})

	// The check needs no group: only the line, the founding record, the bundle.
	held, err := continuity.ParseHead(line, founding)
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := continuity.Verify(bundle, held, founding)
	if err != nil {
		log.Fatal(err)
	}
	planned := slices.ContainsFunc(verdict.Handoffs, func(h continuity.Transition) bool { return h.Reason == chain.ReasonPlanned })
	fmt.Println("continuous from the head of before:", verdict.From == head.Size(), "- with a planned handoff:", planned)

	// Output:
	// event 1: outputs ["3"], rejected false
	// event 2: outputs ["7"], rejected false
	// event 3: outputs [], rejected true
	// because "many" is no number
	// event 4: outputs ["17"], in a later term: true
	// sent again: duplicate true - same link true
	// sum 17
	// continuous from the head of before: true - with a planned handoff: true
}
