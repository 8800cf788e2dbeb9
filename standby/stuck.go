package standby

import (
	"time"

	"github.com/hashicorp/raft"
)

// unstick frees a Raft that stands for election and yet knows a leader. It
// comes from an election at a leader's request that another member won: then
// Raft takes over the winner's name without becoming its follower, and if that
// leader ends as well, it refuses its vote to everybody for the sake of one that
// is gone, for ever. Standing at request once more clears the name. A leader
// that lives would have made it a follower long before. It returns since when
// that has been seen, zero if it has not.
func (n *node) unstick(since time.Time) time.Time {
	_, leader := n.raft.LeaderWithID()
	switch {
	case n.raft.State() != raft.Candidate || leader == "":
		return time.Time{}
	case since.IsZero():
		return time.Now()
	case time.Since(since) < 2*n.g.cfg.Election: // the longest that one election takes
		return since
	}
	n.log.Warn("raft stands for election and still follows a leader: it stands anew", "leader", leader)
	n.trans.StandForElection(n.ctx)
	return time.Time{}
}
