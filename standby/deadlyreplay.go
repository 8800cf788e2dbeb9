package standby

import (
	"errors"
	"fmt"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/poison"
)

// errDeadly: to replay a committed event ended this member's process twice.
var errDeadly = errors.New("two processes of this member died replaying the event")

// mayReplay refuses an entry whose replay ended this member's process twice:
// it would end every further one as well.
func (g *Group) mayReplay(e *fsm.Entry) error {
	for _, d := range g.poison.Deaths() {
		if !d.Replay || d.Count < deadly || d.Seq < e.First || d.Seq-e.First >= uint64(len(e.Steps)) {
			continue
		}
		if s := &e.Steps[d.Seq-e.First]; s.Flags&chain.Refused == 0 && chain.EventDigest(s.Producer, s.Sequence, s.Payload) == d.Input {
			return deadlyReplay(&d)
		}
	}
	return nil
}

func deadlyReplay(d *poison.Death) error {
	return fmt.Errorf("%w: %s at seq %d: repair the daemon, remove the directory poison of this stopped member, and start it", errDeadly, d.Name(), d.Seq)
}

// survived forgets the deaths in the replay of an entry that was replayed now.
func (g *Group) survived(e *fsm.Entry) {
	g.poison.Forget(func(d *poison.Death) bool {
		return d.Replay && d.Seq >= e.First && d.Seq-e.First < uint64(len(e.Steps))
	})
}

// barrier is the first committed event in a range (from, to] that this member
// cannot replay; nil if there is none.
func (g *Group) barrier(from, to uint64) *poison.Death {
	var first *poison.Death
	for _, d := range g.poison.Deaths() {
		if d.Replay && d.Count >= deadly && d.Seq > from && d.Seq <= to && (first == nil || d.Seq < first.Seq) {
			first = &d
		}
	}
	return first
}

// barred says why this member cannot come to the head: only by a checkpoint
// beyond an event that ends its process.
func (g *Group) barred() error {
	n := g.node.Load()
	if n == nil || n.active.Load() != nil {
		return nil
	}
	if d := g.barrier(n.replica.hostSeq.Load(), n.head().Seq()); d != nil {
		return deadlyReplay(d)
	}
	return nil
}
