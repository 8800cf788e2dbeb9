package fsm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/understudy-ha/understudy/chain"
)

// Status is what became of an entry.
type Status uint8

// What can become of an entry.
const (
	Accepted   Status = iota + 1
	Refused           // by rule, on every replica alike: nothing changed
	Diverged          // this replica's history differs: it applies nothing more
	Unreadable        // the entry cannot be decoded: likewise
)

// Result is the answer to one entry. Its slices are shared with the journal
// and must not be changed.
type Result struct {
	Index, Term uint64
	Status      Status
	Err         error // why it was not accepted
	Kind        EntryKind
	Head        chain.Head
	First       uint64
	Links       []chain.Link
	Tree        []chain.Hash // what the tree stores with Links, as chain.Frontier.Grow gives it
	Steps       []Step
	Record      []byte
	FloorMoved  bool
	// The journal's size after the entry.
	JournalSteps, JournalBytes int
}

// State is what the group agreed on. It is pure and single-owner: the same
// entries give the same state on every member.
type State struct {
	founding *chain.Founding
	tip      chain.Tip
	index    uint64 // of the newest applied entry
	logTerm  uint64
	ordinal  uint64 // of the newest entry of this term that made links
	dead     bool   // an ordinal is missing: nothing of this term is accepted any more
	handoff  chain.Handoff
	handSeq  uint64
	diverged error
	journal  journal
	sessions *sessions
	checks   []CheckpointRef
	floor    uint64
}

// NewState is the state at GENESIS.
func NewState(f *chain.Founding) (*State, error) {
	tip, err := chain.Genesis(f)
	if err != nil {
		return nil, err
	}
	return &State{founding: f, tip: tip, sessions: newSessions(f.Settings), journal: journal{from: 1}}, nil
}

// Apply takes the next log entry. It never panics on what is in data; it keeps
// data, which must not be changed afterwards.
func (s *State) Apply(index, term uint64, data []byte) *Result {
	res := &Result{Index: index, Term: term, Status: Accepted}
	if s.diverged != nil {
		res.Status, res.Err = Diverged, s.diverged
		return res
	}
	s.index, s.logTerm = index, term
	e, err := ParseEntry(data)
	if err != nil {
		res.Status, res.Err = Unreadable, fmt.Errorf("log entry %d: %w", index, err)
		s.diverged = res.Err
		return res
	}
	res.Kind, res.First, res.Record = e.Kind, e.First, e.Record
	switch err := s.apply(e, res, data); {
	case errors.Is(err, errDiverged):
		s.diverged = fmt.Errorf("log entry %d: %w", index, err)
		res.Status, res.Err = Diverged, s.diverged
	case err != nil:
		res.Status, res.Err = Refused, err
	}
	if res.Status != Accepted {
		res.Links, res.Tree = nil, nil
	}
	res.Head = s.tip.Head
	res.JournalSteps, res.JournalBytes = s.journal.steps, s.journal.bytes
	return res
}

var errDiverged = errors.New("this replica's history differs")

func (s *State) apply(e *Entry, res *Result, data []byte) error {
	if e.Kind == HandoffEntry {
		return s.applyHandoff(e, res, data)
	}
	if e.Term != res.Term || e.Term != s.tip.Head.Link.Term {
		return fmt.Errorf("entry of term %d in log term %d, the active's term is %d", e.Term, res.Term, s.tip.Head.Link.Term)
	}
	switch e.Kind {
	case NoopEntry:
		return nil
	case ReportEntry:
		return s.applyReport(e, res)
	}
	if s.dead {
		return fmt.Errorf("the activation of term %d lost an entry", e.Term)
	}
	if e.Ordinal != s.ordinal+1 {
		s.dead = true
		return fmt.Errorf("entry %d of term %d after entry %d: one was lost", e.Ordinal, e.Term, s.ordinal)
	}
	if e.Kind == SealEntry {
		return s.applySeal(e, res, data)
	}
	return s.applyBatch(e, res, data)
}

// applyBatch links the steps and takes them over only if all of them are right.
func (s *State) applyBatch(e *Entry, res *Result, data []byte) error {
	tip := s.tip
	links := make([]chain.Link, len(e.Steps))
	tree := make([]chain.Hash, 0, 2*len(links)+64) // a tree has fewer nodes above its leaves than leaves
	for i := range e.Steps {
		st := &e.Steps[i]
		if st.Time < tip.Head.Link.Time {
			return fmt.Errorf("%w: step %d is older than its parent", errDiverged, i)
		}
		links[i] = tip.Next(st.draft(e.Term, tip.Head.Link.Outputs, i == len(e.Steps)-1))
		tree = tip.Grow(&links[i], links[i].Hash(), tree)
	}
	if e.First != s.tip.Head.Size() || tip.Head.Hash != e.Last {
		return fmt.Errorf("%w: entry at seq %d ends in %.8s, here it is seq %d and %.8s", errDiverged, e.First, e.Last, s.tip.Head.Size(), tip.Head.Hash)
	}
	if err := s.sessions.check(e.Steps); err != nil {
		return fmt.Errorf("%w: %w", errDiverged, err)
	}
	outputs := s.tip.Head.Link.Outputs
	for i := range e.Steps {
		st := &e.Steps[i]
		hash := tip.Head.Hash
		if i < len(links)-1 {
			hash = links[i+1].Parent
		}
		s.sessions.note(st, &links[i], hash, outputs+1)
		outputs = links[i].Outputs
	}
	res.Tree = tree
	s.accept(e, res, tip, links, data)
	return nil
}

func (s *State) accept(e *Entry, res *Result, tip chain.Tip, links []chain.Link, data []byte) {
	s.tip, s.ordinal = tip, e.Ordinal
	s.journal.add(res.Index, e, data)
	res.Links, res.Steps = links, e.Steps
}

func (s *State) applyHandoff(e *Entry, res *Result, data []byte) error {
	h, err := chain.ParseHandoff(e.Record)
	if err != nil {
		return err
	}
	roster := &s.founding.Roster
	m, ok := roster.Member(h.Member)
	switch {
	case e.Term != res.Term || h.Term != e.Term || e.Term <= s.tip.Head.Link.Term || e.Ordinal != 0:
		return fmt.Errorf("handoff to term %d in entry term %d, log term %d; the active's term is %d", h.Term, e.Term, res.Term, s.tip.Head.Link.Term)
	case !ok || m.Flags&chain.Voter == 0:
		return fmt.Errorf("handoff to %q, which is no voter", h.Member)
	case !h.Verify(m.LogKey):
		return fmt.Errorf("handoff to %q is not signed by it", h.Member)
	case h.Anchor != chain.AnchorOf(&s.tip):
		return fmt.Errorf("handoff anchored at seq %d %.8s, the head is seq %d %.8s", h.Anchor.Seq, h.Anchor.Link, s.tip.Head.Seq(), s.tip.Head.Hash)
	case h.Seq != s.tip.Head.Size() || h.PrevHandoff != s.handSeq || h.OldTerm != s.handoff.Term || h.OldMember != s.handoff.Member:
		return fmt.Errorf("handoff from %q term %d at seq %d does not follow the one at seq %d", h.OldMember, h.OldTerm, h.PrevHandoff, s.handSeq)
	case h.Roster != roster.Digest():
		return errors.New("handoff under another roster")
	case (h.Reason == chain.ReasonFirst) != (s.handSeq == 0), (h.Reason == chain.ReasonPlanned) != (len(h.Release) > 0):
		return fmt.Errorf("handoff for reason %s", h.Reason)
	}
	if h.Reason == chain.ReasonPlanned {
		if old, ok := roster.Member(h.OldMember); !ok || !h.VerifyRelease(s.founding.Origin(), old.LogKey) {
			return fmt.Errorf("handoff by plan without the release of %q", h.OldMember)
		}
	}
	tip := s.tip
	link := tip.Next(e.draft())
	res.Tree = tip.Grow(&link, link.Hash(), nil)
	if tip.Head.Hash != e.Last || link.Seq != e.First {
		return fmt.Errorf("handoff link %.8s, here it is %.8s", e.Last, tip.Head.Hash)
	}
	s.sessions.skip(link.Time - s.tip.Head.Link.Time)
	s.handoff, s.handSeq, s.dead = *h, link.Seq, false
	s.accept(e, res, tip, []chain.Link{link}, data)
	return nil
}

func (s *State) applySeal(e *Entry, res *Result, data []byte) error {
	seal, err := chain.ParseSeal(e.Record)
	if err != nil {
		return err
	}
	if seal.Seq > s.tip.Head.Seq() || len(s.checks) > 0 && seal.Seq <= s.checks[len(s.checks)-1].Seal.Seq {
		return fmt.Errorf("seal of seq %d, the head is %d", seal.Seq, s.tip.Head.Seq())
	}
	if last, ok := s.journal.lastAt(seal.Seq); ok && last != seal.Link {
		return fmt.Errorf("seal of %.8s at seq %d, the link there is %.8s", seal.Link, seal.Seq, last)
	} else if !ok {
		return fmt.Errorf("seal of seq %d, which is no entry's end", seal.Seq)
	}
	tip := s.tip
	link := tip.Next(e.draft())
	res.Tree = tip.Grow(&link, link.Hash(), nil)
	if tip.Head.Hash != e.Last || link.Seq != e.First {
		return fmt.Errorf("%w: seal link %.8s, here it is %.8s", errDiverged, e.Last, tip.Head.Hash)
	}
	s.checks = append(slices.Clip(s.checks), CheckpointRef{Seal: *seal, SealSeq: link.Seq, Time: link.Time})
	s.limitChecks()
	s.sessions.expire(link.Time)
	s.accept(e, res, tip, []chain.Link{link}, data)
	return nil
}

// Head is the newest committed link.
func (s *State) Head() chain.Head { return s.tip.Head }

// Tip is a copy of the place from which the chain goes on.
func (s *State) Tip() chain.Tip { return s.tip }

// Term is the newest handoff's.
func (s *State) Term() uint64 { return s.tip.Head.Link.Term }

// Ordinal is that of the newest entry of this activation that made links.
func (s *State) Ordinal() uint64 { return s.ordinal }

// Applied is the log position of the newest applied entry.
func (s *State) Applied() (index, term uint64) { return s.index, s.logTerm }

// Active is the member of the newest handoff, its record and the seq of its
// link; empty and zero before the first.
func (s *State) Active() (member string, h chain.Handoff, seq uint64) {
	return s.handoff.Member, s.handoff, s.handSeq
}

// Session is the newest number applied of a producer.
func (s *State) Session(producer string) (last uint64, known bool) { return s.sessions.last(producer) }

// Crowded says that a new producer, after so many others that are on their way,
// might have one forgotten that was heard of less than an hour before now, and
// whose resent number 1 would then be taken for a new producer's. Who is heard of
// now, by what is not committed yet, is never forgotten for long.
func (s *State) Crowded(now int64, others int, heard func(producer string) bool) bool {
	return s.sessions.crowded(now, others, heard)
}

// Receipt finds the receipt of one of a producer's newest events.
func (s *State) Receipt(producer string, sequence uint64) (Receipt, bool) {
	return s.sessions.receipt(producer, sequence)
}

// Roster is who the members are.
func (s *State) Roster() chain.Roster { return s.founding.Roster }

// Settings are the replicated limits.
func (s *State) Settings() chain.Settings { return s.founding.Settings }

// Diverged says why this replica applies nothing more, or nil.
func (s *State) Diverged() error { return s.diverged }
