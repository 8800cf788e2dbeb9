package standby

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/internal/linear"
)

// kvClient is one of several concurrent clients of the kv daemon. One answer in
// eight is lost on its way, and the client sends the event again.
type kvClient struct {
	id       int
	producer string // empty: its events are not numbered, and may be applied twice
	n        uint64
	rng      *rand.Rand
	hist     *linear.History
}

func (c *kvClient) send(s *sim, events int) {
	for range events {
		key := string(rune('a' + c.rng.IntN(4)))
		value := fmt.Sprintf("%d-%d", c.id, c.rng.IntN(1000))
		switch c.rng.IntN(6) {
		case 0:
			c.event(s, "delete "+key)
		case 1:
			c.event(s, fmt.Sprintf("cas %s %d-%d %s", key, c.rng.IntN(6), c.rng.IntN(1000), value))
		case 2, 3:
			c.event(s, "put "+key+" "+value)
		default:
			c.query(s, "get "+key)
		}
		if s.over.Load() {
			return
		}
		time.Sleep(time.Duration(c.rng.IntN(20_000)) * time.Microsecond)
	}
}

// event sends an event until its outcome is certain.
func (c *kvClient) event(s *sim, request string) {
	ev := Event{Payload: []byte(request)}
	if c.producer != "" {
		c.n++
		ev.Producer, ev.Sequence = c.producer, c.n
	}
	done, lost := c.hist.Call(c.id, request)
	r, err := s.deliver(ev)
	if err == nil && c.rng.IntN(8) == 0 {
		time.Sleep(time.Duration(c.rng.IntN(20)) * time.Millisecond)
		r, err = s.deliver(ev)
	}
	if s.over.Load() {
		return
	}
	require.NoError(s.t, err)
	if len(r.OutputData) == 1 {
		done(string(r.OutputData[0]))
	} else {
		lost() // a duplicate's receipt whose outputs are not here yet
	}
}

func (c *kvClient) query(s *sim, request string) {
	done, _ := c.hist.Call(c.id, request)
	for {
		g := s.active()
		if g == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		ans, err := g.Query(ctx, []byte(request), false)
		cancel()
		switch {
		case err == nil, strings.HasPrefix(err.Error(), "no key"):
			done(string(ans.Data))
			return
		case errors.Is(err, ErrNotActive), errors.Is(err, ErrClosed), errors.Is(err, context.DeadlineExceeded):
			time.Sleep(5 * time.Millisecond)
		default:
			require.NoError(s.t, err)
		}
	}
}

// kvHistory records what eight clients see of a group that is broken by a seed.
func kvHistory(t *testing.T, seed uint64, numbered bool) *linear.History {
	h := new(linear.History)
	tr := &trace{seed: seed}
	defer func() {
		if t.Failed() {
			fmt.Fprintf(os.Stderr, "%s", tr)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, tr, rand.New(rand.NewPCG(seed, 3)), func() host.Daemon { return kv.New() })
		for i := range 8 {
			c := &kvClient{id: i, rng: rand.New(rand.NewPCG(seed, uint64(i)+10)), hist: h}
			if numbered {
				c.producer = fmt.Sprintf("client-%d", i)
			}
			s.loads = append(s.loads, c.send)
		}
		for h.Len() < 600 {
			if numbered {
				s.step()
			} else {
				s.stepUnchecked()
			}
		}
	})
	return h
}

// What concurrent clients see of a group with faults is linearizable, also when
// answers are lost and events are sent again.
func TestHistoriesAreLinearizable(t *testing.T) {
	n := simFlag("UNDERSTUDY_HISTORIES", 10)
	if testing.Short() || raceEnabled {
		n = min(n, 3)
	}
	base := simFlag("UNDERSTUDY_SIM_SEED", rand.Uint64())
	for i := range n {
		h := kvHistory(t, base+i, true)
		require.NoError(t, h.Check(time.Minute, os.TempDir()), "UNDERSTUDY_SIM_SEED=%d", base+i)
	}
}

// The control: events without numbers are applied twice when they are sent
// again, and the checker sees it.
func TestHistoriesWithoutNumbers(t *testing.T) {
	require.ErrorIs(t, kvHistory(t, rand.Uint64(), false).Check(time.Minute, t.TempDir()), linear.ErrIllegal)
}
