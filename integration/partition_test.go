package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/faultproxy"
	"github.com/understudy-ha/understudy/standby"
)

// meshed puts proxies that can fail between the members.
func meshed(t *testing.T) (*faultproxy.Mesh, func(*stage)) {
	mesh := new(faultproxy.Mesh)
	return mesh, func(s *stage) {
		addrs := make(map[string]string)
		for _, m := range s.members {
			addrs[m.name] = m.peer
		}
		made, err := faultproxy.NewMesh(addrs)
		require.NoError(t, err)
		*mesh = *made
		t.Cleanup(func() { mesh.Close() })
		for _, m := range s.members {
			var peers []string
			for name, addr := range mesh.Peers(m.name) {
				peers = append(peers, name+"="+addr)
			}
			m.Args = append(m.Args, "--peers", strings.Join(peers, ","))
		}
	}
}

// The active is cut off, in every way that a line can be cut. Another one takes
// over if it must, the group goes on serving, and nobody is left behind when
// the line is whole again.
func TestPartitions(t *testing.T) {
	mesh, before := meshed(t)
	s := newStage(t, plan{daemon: "kv", events: 30000, before: before})
	hold, cut := faultproxy.Rule{Cut: true}, faultproxy.Rule{Reset: true}
	faults := []struct {
		name   string
		moves  bool // the active cannot stay
		inject func(active, other string)
	}{
		{"nothing passes", true, func(a, _ string) { mesh.In(a, hold); mesh.Out(a, hold) }},
		{"everything is reset", true, func(a, _ string) { mesh.In(a, cut); mesh.Out(a, cut) }},
		{"it hears nobody", true, func(a, _ string) { mesh.In(a, hold) }},
		{"nobody hears it", true, func(a, _ string) { mesh.Out(a, hold) }},
		{"one standby is gone", false, func(a, b string) { mesh.Set(a, b, hold); mesh.Set(b, a, hold) }},
		{"one standby is not heard", false, func(a, b string) { mesh.Set(b, a, hold) }},
	}
	rounds := 3
	if raced || testing.Short() {
		rounds = 1
	}
	for range rounds {
		for _, f := range faults {
			ok := t.Run(f.name, func(t *testing.T) {
				defer s.lend(t)()
				s.busy(1200)
				victim, st := s.active()
				f.inject(victim.name, s.standby().name)
				s.allow(1200)
				if f.moves {
					s.after(st.Term)
				}
				s.serves(300)
				mesh.All(faultproxy.Rule{})
				s.healthy()
			})
			require.True(t, ok, f.name)
		}
	}
	s.finish()
}

// Lines that are slow, narrow and come and go cost time and nothing else.
func TestBadLines(t *testing.T) {
	slow(t)
	mesh, before := meshed(t)
	s := newStage(t, plan{daemon: "ledger", events: 12000, before: before})
	for _, r := range []faultproxy.Rule{{Delay: 10 * time.Millisecond}, {Rate: 1 << 20}, {Delay: 30 * time.Millisecond, Rate: 512 << 10}} {
		mesh.All(r)
		acked := s.acked()
		s.allow(1500)
		s.untilAcked(acked + 1000)
	}
	mesh.All(faultproxy.Rule{})
	s.allow(3000)
	names := []string{"a", "b", "c"}
	for range 60 { // any line fails for a moment, then another one
		s.rng.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
		rule := faultproxy.Rule{Cut: true}
		if s.rng.IntN(4) == 0 {
			rule = faultproxy.Rule{Reset: true}
		}
		mesh.Set(names[0], names[1], rule)
		time.Sleep(time.Duration(20+s.rng.IntN(130)) * time.Millisecond) // how long the line is bad
		mesh.Set(names[0], names[1], faultproxy.Rule{})
	}
	s.healthy()
	s.finish()
}

// Answers that are lost on the way are asked for again, at another member, and
// nothing happens twice.
func TestLostAnswers(t *testing.T) {
	s := newStage(t, plan{daemon: "ledger", events: 2000})
	s.busy(1000)
	var others []sent
	for round := range 20 {
		m := s.members[round%3]
		p, err := faultproxy.New("127.0.0.1:0", strings.TrimPrefix(m.url, "http://"))
		require.NoError(t, err)
		p.SetRule(faultproxy.Back, faultproxy.Rule{Cut: true}) // what is asked arrives, no answer does
		ev := event(fmt.Sprintf("forgetful-%d", round), 1, fmt.Sprintf("open forgetful%d 1", round))
		pipe, err := dial(s.ctx, "http://"+p.Addr())
		require.NoError(t, err)
		require.NoError(t, pipe.send(lines(evs(ev))))
		if round%2 == 0 { // it was taken; for the others nobody knows
			s.await("waiting for the event", func(ctx context.Context) error {
				last, known, err := s.client.Session(ctx, ev.Producer)
				if err == nil && (!known || last != 1) {
					err = fmt.Errorf("last %d, known %v", last, known)
				}
				return err
			})
		}
		p.SetRule(faultproxy.Back, faultproxy.Rule{Reset: true})
		require.NoError(t, p.Close())
		pipe.Close()
		settled := s.settle(evs(ev))
		if round%2 == 0 {
			require.True(t, settled[0].receipt.Duplicate)
		}
		others = append(others, settled...)
	}
	s.finish(others...)
}

func evs(ev ...standby.Event) []standby.Event { return ev }
