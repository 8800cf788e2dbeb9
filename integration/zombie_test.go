package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// straggler is a client that spoke to the active alone when it was stopped, and
// goes on speaking to it.
type straggler struct {
	evs  []standby.Event
	pipe *pipe
	half []byte // of an event's line, the rest of what was written
}

const (
	stragglers = 6
	beforeStop = 100 // events of a straggler
	afterStop  = 60
)

// newStraggler sends some events, and half of another. With reply the answer
// has begun, and is not read.
func newStraggler(t *testing.T, s *stage, m *member, name string, reply bool) *straggler {
	p, err := dial(s.ctx, m.url)
	require.NoError(t, err)
	z := &straggler{pipe: p}
	for i := range beforeStop + afterStop {
		z.evs = append(z.evs, event(name, uint64(i+1), fmt.Sprintf("put %s.%d %s", name, i, strings.Repeat("v", 900))))
	}
	sent := 0
	if reply {
		sent = beforeStop / 2
		require.NoError(t, p.send(lines(z.evs[:sent])))
		require.NoError(t, p.answered())
	}
	require.NoError(t, p.send(lines(z.evs[sent:beforeStop])))
	next := lines(z.evs[beforeStop : beforeStop+1])
	require.NoError(t, p.send(next[:len(next)/2]))
	z.half = next[len(next)/2:]
	return z
}

// The active is stopped for longer than any timeout, another one serves, and
// the old one goes on in the middle of a write and of a reply. Nothing outside
// the committed history is ever acknowledged: what it acknowledges late was
// committed, under its own term, before the other's began; all else is refused
// or uncertain.
func TestZombie(t *testing.T) {
	s := newStage(t, plan{daemon: "kv", events: 12000})
	var others []sent
	tally := make(map[string]int)
	for round := range 3 {
		s.busy(3000)
		victim, st := s.active()
		outputs := s.follow(victim)
		var all []*straggler
		for i := range stragglers {
			all = append(all, newStraggler(t, s, victim, fmt.Sprintf("zombie-%d-%d", round, i), i%2 == 0))
		}
		require.NoError(t, victim.Signal(syscall.SIGSTOP))
		s.after(st.Term)
		s.serves(100)
		for _, z := range all {
			require.NoError(t, z.pipe.send(append(z.half, lines(z.evs[beforeStop+1:])...)))
		}
		newest := s.newest("load-0")
		told := askSession(t, victim, "load-0") // waits at its door
		require.NoError(t, victim.Signal(syscall.SIGCONT))
		for _, last := range told() {
			require.GreaterOrEqual(t, last, newest, "a deposed active tells where a producer was")
		}

		answer, err := victim.client.Query(s.ctx, []byte("list zombie"), false)
		require.NoError(t, err)
		require.Greater(t, answer.Term, st.Term, "a deposed active answers a query as if it were one")
		for _, z := range all {
			late := z.pipe.end(len(z.evs))
			settled := s.settle(z.evs)
			others = append(others, settled...)
			for i, r := range late {
				tally[outcome(r, st.Term)]++
				if r.Err != nil {
					require.Truef(t, harmless(r.Err), "the zombie answers: %v", r.Err)
					continue
				}
				require.True(t, settled[i].receipt.Duplicate)
				require.Equal(t, place(&settled[i].receipt), place(&r.Receipt), "acknowledged outside the history")
			}
			tally["no answer"] += len(z.evs) - len(late)
		}
		s.healthy()
		outputs()
	}
	require.NotZero(t, tally["committed in the old term"], "nothing was acknowledged late: the test has no teeth")
	t.Logf("what the stragglers were told: %v", tally)
	s.finish(others...)
}

// newest is the highest number of a producer of the load that is acknowledged.
func (s *stage) newest(producer string) (n uint64) {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	for i := range s.load.events {
		if r := &s.load.events[i].receipt; r.Seq > 0 && r.Producer == producer {
			n = max(n, r.Sequence)
		}
	}
	return n
}

// askSession asks a member some times, on connections of their own, where a
// producer is. What it returns reads the answers that there are.
func askSession(t *testing.T, m *member, producer string) (told func() []uint64) {
	t.Helper()
	var conns []net.Conn
	for range 8 {
		c, err := net.DialTimeout("tcp", m.api(), patience)
		require.NoError(t, err)
		c.SetDeadline(time.Now().Add(patience))
		_, err = fmt.Fprintf(c, "GET /v1/session?producer=%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", producer, m.api())
		require.NoError(t, err)
		conns = append(conns, c)
	}
	return func() (last []uint64) {
		for _, c := range conns {
			defer c.Close()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				continue
			}
			var answer wire.Session
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
			last = append(last, answer.Last)
		}
		return last
	}
}

func lines(evs []standby.Event) []byte {
	var b []byte
	for i := range evs {
		b = wire.AppendEvent(b, &evs[i])
	}
	return b
}

type position struct {
	seq, term, first, outputs uint64
	link                      chain.Hash
}

// place is where in the history a receipt says that its event is.
func place(r *standby.Receipt) position {
	return position{r.Seq, r.Term, r.FirstOutput, r.Outputs, r.Link}
}

// harmless errors say that nothing happened, or that nobody knows.
func harmless(err error) bool {
	for _, e := range []error{standby.ErrNotActive, standby.ErrUncertain, standby.ErrBusy, standby.ErrGap, standby.ErrSessionExpired, standby.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func outcome(r standby.Result, term uint64) string {
	switch {
	case r.Err == nil && r.Receipt.Term == term:
		return "committed in the old term"
	case r.Err == nil:
		return "committed in the new term"
	case errors.Is(r.Err, standby.ErrUncertain):
		return "uncertain"
	case errors.Is(r.Err, standby.ErrNotActive):
		return "not active"
	}
	return "other refusal"
}

// follow reads a member's outputs as they come. The function that it returns
// ends that, and compares what came with what another member keeps.
func (s *stage) follow(m *member) (compare func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	from := uint64(1)
	if _, st := s.active(); st.Outputs > 0 {
		from = st.Outputs
	}
	var got []chain.Output
	done := make(chan struct{})
	go func() {
		defer close(done)
		for out, err := range m.client.Outputs(ctx, from, true) {
			if err != nil {
				return
			}
			got = append(got, out)
		}
	}()
	return func() {
		s.t.Helper()
		cancel()
		<-done
		require.NotEmpty(s.t, got)
		ctx, cancel := context.WithTimeoutCause(s.ctx, patience, errors.New("it put out more than was committed"))
		defer cancel()
		n := 0
		for want, err := range s.standby().client.Outputs(ctx, from, true) {
			require.NoErrorf(s.t, err, "outputs of %s from %d on", m.name, n+1)
			require.Equal(s.t, want, got[n], "%s put out something else", m.name)
			if n++; n == len(got) {
				break
			}
		}
	}
}
