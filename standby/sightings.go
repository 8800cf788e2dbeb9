package standby

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// seen is what each other member said last.
type seen struct {
	mu   sync.Mutex
	last map[string]sighting
}

type sighting struct {
	pos  position
	at   time.Time
	took time.Duration // until its newest answer
	// behind is how far its wall clock was behind this member's then.
	behind time.Duration
	err    error // of the newest try, nil if it answered
}

func (s *seen) put(member string, pos *position, took, behind time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = make(map[string]sighting)
	}
	v := s.last[member]
	if v.err = err; err == nil {
		v.pos, v.at, v.took, v.behind = *pos, time.Now(), took, behind
	}
	s.last[member] = v
}

func (s *seen) get(member string) (sighting, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.last[member]
	return v, ok
}

// ahead says whether a member that answers was beyond the position already.
func (s *seen) ahead(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.last {
		if v.err == nil && v.pos.Seq > seq {
			return true
		}
	}
	return false
}

// watchPeers asks every other member each second where it stands and compares
// histories: a link that differs from this member's own is a fork, which stops
// this member before it serves anything on it.
func (g *Group) watchPeers() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, m := range g.cfg.Founding.Roster.Members {
		if m.Name == g.cfg.Member {
			continue
		}
		wg.Go(func() { g.watchPeer(m.Name) })
	}
}

func (g *Group) watchPeer(member string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(g.ctx, 3*time.Second)
		var mine chain.Head
		if n := g.node.Load(); n != nil {
			mine = n.head()
		}
		asked := time.Now()
		pos, err := g.peers.position(ctx, member, mine.Link.Seq, 0)
		took := time.Since(asked)
		cancel()
		before, known := g.seen.get(member)
		var behind time.Duration
		if err == nil {
			behind = time.Duration(g.now()-pos.Now) - took/2 // its clock was read about halfway
		}
		g.seen.put(member, pos, took, behind, err)
		if err == nil && pos.Promotion != 0 && pos.Promotion != before.pos.Promotion && len(pos.Phases) <= maxPhases {
			g.notePromotion(pos.Promotion, pos.Phases, false)
		}
		if err == nil {
			g.told.put(member, pos.Deaths)
		}
		if err == nil && pos.Seq >= mine.Link.Seq && !pos.At.IsZero() && !mine.Hash.IsZero() && pos.At != mine.Hash {
			g.fail(fmt.Errorf("at seq %d member %s has another link: %w: compare the members' chains before any of them serves again", mine.Link.Seq, member, errForked))
		}
		if !known || (before.err == nil) != (err == nil) || err == nil && before.pos.Role != pos.Role {
			g.changed.notify()
		}
		select {
		case <-tick.C:
		case <-g.ctx.Done():
			return
		}
	}
}
