package standby

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/fsm"
)

// A crashed process is noticed by its kernel, which closes its connections and
// refuses new ones: that is known within milliseconds, long before a heartbeat
// is missed. Evidence is a connection from the active that ended and a dial to
// it that was refused, seen by a majority. Then the member with the freshest
// log stands for election at once, the others a little later. Elections are
// safe whatever triggers them; silence alone is left to Raft's timeouts.

const (
	crashPatience = 500 * time.Millisecond // for one inquiry
	campaign      = 2 * time.Second        // then Raft's timeouts see to it
	stagger       = 75 * time.Millisecond  // an election's time without its round trips: between one candidate and the next
	candidacies   = 3                      // of one member after one crash
)

// standing is what a member answers when it is asked whether the active is gone.
type standing struct {
	Member     string `json:"member"`
	Gone       bool   `json:"gone"` // it follows no other, and nothing listens there
	LastTerm   uint64 `json:"last_term"`
	LastIndex  uint64 `json:"last_index"`
	Eligible   bool   `json:"eligible"`
	Checkpoint uint64 `json:"checkpoint"` // covered seq of the restored one
}

// before says that a stands for election before b: the fresher log, which alone
// can win, then who may be active, then who has less to replay.
func (a *standing) before(b *standing) bool {
	switch {
	case a.LastTerm != b.LastTerm:
		return a.LastTerm > b.LastTerm
	case a.LastIndex != b.LastIndex:
		return a.LastIndex > b.LastIndex
	case a.Eligible != b.Eligible:
		return a.Eligible
	case a.Checkpoint != b.Checkpoint:
		return a.Checkpoint > b.Checkpoint
	}
	return a.Member < b.Member
}

// watchCrashes acts upon connections that ended from the other side.
func (g *Group) watchCrashes() {
	type crash struct {
		member string
		term   uint64
	}
	var acted crash // the last one, and the term to which it has led: other connections to the same process ended too
	for {
		select {
		case member := <-g.net.Lost():
			n := g.node.Load()
			if n == nil || !n.lost(member) || acted == (crash{member, n.raft.CurrentTerm()}) {
				continue
			}
			if g.campaign(n, member) {
				acted = crash{member, n.raft.CurrentTerm()}
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// lost says that this member follows nobody but perhaps the other.
func (n *node) lost(member string) bool {
	_, leader := n.raft.LeaderWithID()
	return n.raft.State() != raft.Leader && (leader == "" || string(leader) == member)
}

// followed says that the other is the last active that this member followed.
func (n *node) followed(member string) bool {
	_, leader := n.raft.LeaderWithID()
	active := string(leader)
	if leader == "" {
		n.machine.Read(func(s *fsm.State) { active, _, _ = s.Active() })
	}
	return active == member && n.raft.State() != raft.Leader
}

// standing is this member's answer about an active. If it follows another one
// the answer is about that: two may have died one after the other, and not
// everybody has heard of the second.
func (g *Group) standing(ctx context.Context, n *node, active string) *standing {
	if _, leader := n.raft.LeaderWithID(); leader != "" {
		active = string(leader)
	}
	last, _ := strconv.ParseUint(n.raft.Stats()["last_log_term"], 10, 64)
	return &standing{
		Member: g.cfg.Member, LastTerm: last, LastIndex: n.raft.LastIndex(),
		Eligible: g.eligible() == nil, Checkpoint: n.replica.restoredSeq.Load(),
		Gone: n.lost(active) && g.net.Gone(ctx, active),
	}
}

// campaign stands for election when it is this member's turn, until somebody
// leads. Everybody is asked anew each time: logs grow for a moment yet from what
// the dead process had sent, so that two members can be first in their own eyes,
// or none, and an election can fail. It reports whether the active was gone.
func (g *Group) campaign(n *node, active string) (gone bool) {
	ctx, cancel := context.WithTimeout(n.ctx, campaign)
	defer cancel()
	since := time.Now() // the turns of those before this member began
	trip := campaign    // what an inquiry takes: an election takes as much, twice
	for stood := 0; stood < candidacies && ctx.Err() == nil; {
		mine := g.standing(ctx, n, active)
		if !mine.Gone {
			break
		}
		gone = true
		wait := stagger / 4
		asked := time.Now()
		rank, agreed := g.inquire(ctx, mine, active)
		trip = min(trip, time.Since(asked))
		turn := stagger + 2*trip
		if agreed && rank <= int(time.Since(since)/turn) && n.lost(active) {
			n.log.Info("the active's process is gone, standing for election", "member", g.cfg.Member, "active", active, "rank", rank)
			n.stand(ctx, active)
			stood++
			wait = turn + rand.N(turn) // two that meet once must not meet again
			since = time.Now()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return gone
}

// stand has this member's Raft begin an election. One that lost an election
// would wait for its timeout before the next: it leaves that term first.
func (n *node) stand(ctx context.Context, active string) {
	if n.raft.State() == raft.Candidate {
		n.trans.LeaveTerm(ctx, active, n.raft.CurrentTerm())
	}
	n.trans.StandForElection(ctx)
}

// inquire finds out whether a majority of the voters, this member included, has
// lost the active, and how many of them go before this member.
func (g *Group) inquire(ctx context.Context, mine *standing, active string) (rank int, agreed bool) {
	ctx, cancel := context.WithTimeout(ctx, crashPatience)
	defer cancel()
	voters := g.voters()
	answers := make(chan *standing, len(voters))
	for _, m := range voters {
		if m == g.cfg.Member || m == active {
			continue
		}
		go func() {
			s, err := g.peers.standing(ctx, m, active)
			if err != nil {
				s = &standing{}
			}
			answers <- s
		}()
	}
	agree := 1
	var enough <-chan time.Time // a majority agrees: the others have a moment to be counted before this member or after it
	for range len(voters) - 2 {
		select {
		case s := <-answers:
			if s.Gone {
				agree++
			}
			if s.Gone && s.before(mine) {
				rank++
			}
		case <-enough:
			return rank, true
		}
		if enough == nil && agree > len(voters)/2 {
			enough = time.After(stagger / 4)
		}
	}
	return rank, agree > len(voters)/2
}

func (p *peers) standing(ctx context.Context, member, active string) (*standing, error) {
	data, err := p.call(ctx, member, http.MethodGet, "/peer/standing?active="+active, nil, maxPeerJSON)
	if err != nil {
		return nil, err
	}
	s := new(standing)
	return s, json.Unmarshal(data, s)
}

func (g *Group) serveStanding(w http.ResponseWriter, r *http.Request) {
	active := r.FormValue("active")
	n := g.node.Load()
	if _, ok := g.cfg.Founding.Roster.Member(active); !ok || n == nil {
		http.Error(w, "no such member, or this one is starting", http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), crashPatience)
	defer cancel()
	writeJSON(w, g.standing(ctx, n, active))
}
