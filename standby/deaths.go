package standby

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/poison"
)

// deadly is how many processes an event may end: one can be chance.
const deadly = 2

// openPoison reads what the process before this one was at when it died.
func (g *Group) openPoison() error {
	book, found, err := poison.Open(g.fs.Sub("poison"), g.now())
	if err != nil {
		return fmt.Errorf("notes of events: %w", err)
	}
	g.poison = book
	for i := range found {
		g.log.Warn("the last process died in an event", "event", found[i].Name(), "seq", found[i].Seq, "replay", found[i].Replay, "deaths", found[i].Count)
		g.noteReason(fmt.Errorf("the process before this one died in %s", found[i].Name()))
	}
	return nil
}

// savePoison keeps on disk what was forgotten.
func (g *Group) savePoison() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := g.poison.Save(); err != nil {
				g.log.Warn("the list of deadly events was not written", "err", err)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// accusations are all deaths that this member knows of and that are not too old.
func (g *Group) accusations() []accusation {
	all := g.told.accusations(nil)
	for _, d := range g.poison.Deaths() {
		all = append(all, accusation{g.cfg.Member, d})
	}
	kept, oldest := all[:0], g.now()-int64(poison.Lifetime)
	for _, x := range all {
		if x.Time > oldest {
			kept = append(kept, x)
		}
	}
	return kept
}

// acquit forgets the deaths of events that were committed since. An event that
// is refused under its number is done with; without one it may come again.
func (g *Group) acquit(r *fsm.Result) {
	for i := range r.Links {
		l := &r.Links[i]
		if l.Kind != chain.KindStep {
			continue
		}
		done := func(d *poison.Death) bool {
			return !d.Replay && d.Input == l.Input && l.Term > d.Term && (l.Flags&chain.Refused == 0 || d.Sequence > 0)
		}
		g.poison.Forget(done)
		g.told.forget(done)
	}
}

// judge decides about an event of which deaths may be told: true if it goes
// on, to the daemon or to be refused. Otherwise it has been answered.
//
// Two deaths condemn it. With one it is tried again, unless a member that was
// active right before or since has not come back to say what it died of: that
// one gets its time, then the silence counts.
func (a *activation) judge(p *pending, known []accusation) bool {
	input := chain.EventDigest(p.ev.Producer, p.ev.Sequence, p.ev.Payload)
	var deaths uint32
	var where []string
	var of accusation
	for _, x := range known {
		if x.Input == input && !x.Replay {
			deaths, of = deaths+x.Count, x
			where = append(where, fmt.Sprintf("%s (%d, the newest in term %d)", x.member, x.Count, x.Term))
		}
	}
	if deaths == 0 {
		return true
	}
	if deaths < deadly {
		silent := a.silent(&of)
		switch {
		case len(silent) == 0:
			return true
		case time.Since(a.since) < hearing:
			p.settle(Result{Err: &BusyError{RetryAfter: time.Second, Reason: fmt.Sprintf("a process died in this event; %s may have, too, and has not come back yet", strings.Join(silent, ", "))}})
			return false
		}
		where = append(where, strings.Join(silent, ", ")+" (was active then and has not come back)")
	}
	p.refuse = "processes died in this event: " + strings.Join(where, ", ")
	a.n.log.Error("an event is refused", "producer", p.ev.Producer, "number", p.ev.Sequence, "cause", p.refuse)
	return true
}

// hearing is how long a new active waits for what lost members have to say.
const hearing = 10 * time.Second

// silent are the members that may have died of the event besides the one that
// told: they were active in the term before that death or in one since, and
// have not spoken to this activation.
func (a *activation) silent(x *accusation) []string {
	if a.past == nil {
		a.past, _ = a.n.g.newestHandoffs(a.ctx, 16) // as far as this member's disk has them
	}
	var names []string
	for i := range a.past {
		h := &a.past[i]
		if h.Term < a.term && h.Term != x.Term && h.Member != a.n.g.cfg.Member && !a.n.g.told.since(h.Member, a.since) {
			names = append(names, h.Member)
		}
		if h.Term < x.Term {
			break
		}
	}
	return names
}

// rash is how soon after its own promotion an active must be lost for it to
// look like the work of an event.
const rash = time.Minute

// hear keeps the queue shut for a while if the two actives before this one were
// lost one right after the other and none has come back: an event may be at
// work that no living member knows, and it must not take a third process. Where
// two lost members leave no majority this never waits.
func (p *promotion) hear(a *activation) error {
	hs, _ := p.n.g.newestHandoffs(a.ctx, 2)
	if len(hs) < 2 {
		return nil
	}
	mine, last := &hs[0], &hs[1]
	me, b, c := p.n.g.cfg.Member, mine.OldMember, last.OldMember
	if mine.Reason != chain.ReasonActiveFailed || last.Reason != chain.ReasonActiveFailed ||
		b == me || c == me || b == c || mine.Time-last.Time > int64(rash) {
		return nil
	}
	ctx, cancel := context.WithTimeout(a.ctx, hearing)
	defer cancel()
	told := make(chan struct{}, 2)
	for _, m := range []string{b, c} {
		go p.n.g.hearFrom(ctx, m, told)
	}
	p.n.setRole(RolePromoting, PhaseActive, fmt.Sprintf("%s and %s were lost one right after the other: waiting for one to say what it died of", c, b))
	select {
	case <-told:
	case <-ctx.Done():
	}
	return context.Cause(a.ctx)
}

// hearFrom asks a member what it died of until it answers.
func (g *Group) hearFrom(ctx context.Context, member string, told chan<- struct{}) {
	for ctx.Err() == nil {
		pos, err := g.peers.position(ctx, member, 0, 0)
		if err == nil {
			g.told.put(member, pos.Deaths)
			told <- struct{}{}
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// deathNotes are the lines of the status about events that ended processes.
func (g *Group) deathNotes() []string {
	var out []string
	for _, x := range g.accusations() {
		what := "new"
		if x.Replay {
			what = fmt.Sprintf("replayed from seq %d", x.Seq)
		}
		out = append(out, fmt.Sprintf("%s, %s, ended %d processes of %s", x.Name(), what, x.Count, x.member))
	}
	return out
}
