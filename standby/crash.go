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
	crashPatience = 500 * time.Millisecond // for the whole inquiry
	stagger       = 75 * time.Millisecond  // an election's time: between one candidate and the next
	candidacies   = 3                      // of one member after one crash
)

// standing is what a member answers when it is asked whether the active is gone.
type standing struct {
	Member     string `json:"member"`
	Gone       bool   `json:"gone"` // it followed that active in that term, and nothing listens there
	Term       uint64 `json:"term"`
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
	var acted uint64 // newest term in which this member stood for election
	for {
		select {
		case member := <-g.net.Lost():
			n := g.node.Load()
			if n == nil || !n.follows(member) || n.raft.CurrentTerm() == acted {
				continue
			}
			term := n.raft.CurrentTerm()
			if rank, gone := g.inquire(n, member, term); gone {
				acted = term
				n.candidate(member, rank)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// follows says that this member is a follower of the other, or of nobody since.
func (n *node) follows(member string) bool {
	if n.raft.State() != raft.Follower {
		return false
	}
	_, leader := n.raft.LeaderWithID()
	active := string(leader)
	if leader == "" {
		n.machine.Read(func(s *fsm.State) { active, _, _ = s.Active() })
	}
	return active == member
}

// standing is this member's answer about an active in a term.
func (g *Group) standing(ctx context.Context, n *node, active string, term uint64) *standing {
	last, _ := strconv.ParseUint(n.raft.Stats()["last_log_term"], 10, 64)
	return &standing{
		Member: g.cfg.Member, Term: n.raft.CurrentTerm(), LastTerm: last, LastIndex: n.raft.LastIndex(),
		Eligible: g.eligible() == nil, Checkpoint: n.replica.restoredSeq.Load(),
		Gone: n.follows(active) && n.raft.CurrentTerm() == term && g.net.Gone(ctx, active),
	}
}

// inquire finds out whether a majority of the voters, this member included, has
// lost the active, and how many of them go before this member.
func (g *Group) inquire(n *node, active string, term uint64) (rank int, gone bool) {
	ctx, cancel := context.WithTimeout(n.ctx, crashPatience)
	defer cancel()
	mine := g.standing(ctx, n, active, term)
	if !mine.Gone {
		return 0, false
	}
	voters := g.voters()
	answers := make(chan *standing, len(voters))
	for _, m := range voters {
		if m == g.cfg.Member || m == active {
			continue
		}
		go func() {
			s, err := g.peers.standing(ctx, m, active, term)
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
			if s.Gone && s.before(mine) || s.Term > term { // a newer term: it, or one that it heard of, stands already
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

// candidate stands for election in its turn, and again if nobody has won.
func (n *node) candidate(active string, rank int) {
	n.log.Info("the active's process is gone", "member", n.g.cfg.Member, "active", active, "rank", rank)
	for range candidacies {
		wait := time.Duration(rank) * stagger
		if rank > 0 {
			wait += rand.N(stagger / 2) // two that both believe to be second must not meet
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return
		}
		if !n.follows(active) {
			return // another one leads, or this one is a candidate already
		}
		n.trans.StandForElection(n.ctx)
		rank = 2 // a lost vote: let the others come first
	}
}

func (p *peers) standing(ctx context.Context, member, active string, term uint64) (*standing, error) {
	data, err := p.call(ctx, member, http.MethodGet, "/peer/standing?active="+active+"&term="+strconv.FormatUint(term, 10), nil, maxPeerJSON)
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
	writeJSON(w, g.standing(ctx, n, active, number(r, "term")))
}
