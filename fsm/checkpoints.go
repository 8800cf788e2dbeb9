package fsm

import (
	"fmt"
	"slices"

	"github.com/understudy-ha/understudy/chain"
)

// Mark is a member's report on a checkpoint.
type Mark struct {
	Member   string
	StoreID  [16]byte
	Verified bool
}

// CheckpointRef is a sealed checkpoint and who holds it.
type CheckpointRef struct {
	Seal    chain.Seal
	SealSeq uint64 // of the SEAL link
	Time    int64  // of the SEAL link, unix ns
	Marks   []Mark // sorted by member
}

// HasDurable says whether the member reported it durable.
func (c *CheckpointRef) HasDurable(member string) bool {
	return slices.ContainsFunc(c.Marks, func(m Mark) bool { return m.Member == member })
}

// HasVerified says whether the member reported that its replay agrees with it.
func (c *CheckpointRef) HasVerified(member string) bool {
	return slices.ContainsFunc(c.Marks, func(m Mark) bool { return m.Member == member && m.Verified })
}

// Verified says whether any member's replay agreed with it.
func (c *CheckpointRef) Verified() bool {
	return slices.ContainsFunc(c.Marks, func(m Mark) bool { return m.Verified })
}

// maxCheckpoints bounds the checkpoints that are kept while the floor cannot
// rise; those right before the newest go first.
const maxCheckpoints = 8

// Checkpoints are the kept ones, the newest last: the floor's, the one before
// it, and all after.
func (s *State) Checkpoints() []CheckpointRef { return slices.Clone(s.checks) }

// Floor is the position covered by the newest checkpoint that is durable on a
// majority and verified by a member.
func (s *State) Floor() uint64 { return s.floor }

func (s *State) applyReport(e *Entry, res *Result) error {
	rep, err := ParseReport(e.Record)
	if err != nil {
		return err
	}
	if m, ok := s.founding.Roster.Member(rep.Member); !ok || m.Flags&chain.Voter == 0 {
		return fmt.Errorf("report of %q, which is no voter", rep.Member)
	}
	i := slices.IndexFunc(s.checks, func(c CheckpointRef) bool { return c.Seal.Manifest == rep.Manifest && c.Seal.Seq == rep.Seq })
	if i < 0 {
		return fmt.Errorf("report on a checkpoint at seq %d that is not kept", rep.Seq)
	}
	// Readers may hold the old slices.
	s.checks = slices.Clone(s.checks)
	c := &s.checks[i]
	c.Marks = slices.Clone(c.Marks)
	mark := Mark{rep.Member, rep.StoreID, rep.Verified || c.HasVerified(rep.Member)}
	c.Marks = slices.DeleteFunc(c.Marks, func(m Mark) bool { return m.Member == rep.Member })
	at := 0
	for at < len(c.Marks) && c.Marks[at].Member < rep.Member {
		at++
	}
	c.Marks = slices.Insert(c.Marks, at, mark)
	res.FloorMoved = s.raiseFloor()
	return nil
}

// raiseFloor moves the floor up to the newest checkpoint that is safe, and
// lets go of what lies before the checkpoint before it.
func (s *State) raiseFloor() bool {
	voters := 0
	for _, m := range s.founding.Roster.Members {
		if m.Flags&chain.Voter != 0 {
			voters++
		}
	}
	for i := len(s.checks) - 1; i >= 0 && s.checks[i].Seal.Seq > s.floor; i-- {
		c := &s.checks[i]
		verified := slices.ContainsFunc(c.Marks, func(m Mark) bool { return m.Verified })
		if len(c.Marks) <= voters/2 || !verified {
			continue
		}
		s.floor = c.Seal.Seq
		if i > 0 {
			s.checks = slices.Clone(s.checks[i-1:])
			s.journal.prune(s.checks[0].Seal.Seq + 1)
		}
		return true
	}
	return false
}

// limitChecks keeps the newest checkpoint and the oldest ones. The floor's and the
// one before it are among these, and so is the one that is being verified: without
// it a verification that takes longer than the others come would be for nothing,
// and so would each that follows.
func (s *State) limitChecks() {
	if n := len(s.checks); n > maxCheckpoints {
		s.checks = slices.Delete(slices.Clone(s.checks), n-2, n-1)
	}
}
