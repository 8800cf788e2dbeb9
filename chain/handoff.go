package chain

import (
	"fmt"
)

// Reason says why a member became active.
type Reason uint8

// The reasons of a handoff.
const (
	ReasonFirst Reason = iota
	ReasonPlanned
	ReasonActiveFailed
	ReasonOperator
)

// String is the reason as operators read it.
func (r Reason) String() string {
	names := [...]string{"first", "planned", "active-failed", "operator"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Anchor is a position that a record or proof is fastened to: the link at Seq,
// its hash, and the tree root over the links up to and including it.
type Anchor struct {
	Link Hash   `json:"link"`
	Seq  uint64 `json:"seq"`
	Root Hash   `json:"root"`
}

// AnchorOf is the anchor at a tip's head.
func AnchorOf(t *Tip) Anchor { return Anchor{Link: t.Head.Hash, Seq: t.Head.Seq(), Root: t.Root()} }

// Handoff is the record of a HANDOFF link: it makes a member active from the
// anchor on, in a new term. It is signed by the new active.
type Handoff struct {
	Reason        Reason
	Term, OldTerm uint64
	Seq           uint64 // of the HANDOFF link
	RaftIndex     uint64 // applied when it was proposed
	PrevHandoff   uint64 // seq of the HANDOFF before, 0 for the first
	Time          int64
	Roster        Hash
	OldMember     string // empty for the first
	Member        string
	Anchor        Anchor // the head before it
	CheckpointSeq uint64 // where the replay began, 0 for genesis
	Replayed      uint64 // events replayed from there
	Release       []byte // planned: the old active's signature that gives the role away here
	Signature     []byte
}

const handoffMagic = "USH1"

func (h *Handoff) signed() []byte {
	b := append([]byte(handoffMagic), byte(h.Reason))
	b = appendU64(b, h.Term, h.OldTerm, h.Seq, h.RaftIndex, h.PrevHandoff, uint64(h.Time))
	b = append(b, h.Roster[:]...)
	b = appendText(appendText(b, h.OldMember), h.Member)
	b = append(b, h.Anchor.Link[:]...)
	b = appendU64(b, h.Anchor.Seq)
	b = append(b, h.Anchor.Root[:]...)
	b = appendU64(b, h.CheckpointSeq, h.Replayed)
	return appendText(b, string(h.Release))
}

// Sign sets the signature of the new active.
func (h *Handoff) Sign(k Keypair) (err error) {
	d := Derive("handoff signature", h.signed())
	h.Signature, err = k.Sign(d[:])
	return err
}

// Verify says whether id signed the record.
func (h *Handoff) Verify(id EntityID) bool {
	d := Derive("handoff signature", h.signed())
	return Verify(id, d[:], h.Signature)
}

// Marshal encodes the record with its signature.
func (h *Handoff) Marshal() []byte { return appendText(h.signed(), string(h.Signature)) }

// ParseHandoff reads what Marshal wrote.
func ParseHandoff(b []byte) (*Handoff, error) {
	r := reader{b: b}
	r.magic(handoffMagic)
	h := &Handoff{
		Reason: Reason(r.u8()), Term: r.u64(), OldTerm: r.u64(), Seq: r.u64(), RaftIndex: r.u64(), PrevHandoff: r.u64(), Time: int64(r.u64()),
		Roster: r.hash(), OldMember: r.text(), Member: r.text(),
		Anchor:        Anchor{Link: r.hash(), Seq: r.u64(), Root: r.hash()},
		CheckpointSeq: r.u64(), Replayed: r.u64(),
	}
	if v := r.text(); v != "" {
		h.Release = []byte(v)
	}
	h.Signature = []byte(r.text())
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: handoff: %w", ErrRecord, err)
	}
	switch {
	case h.Reason > ReasonOperator:
		return nil, fmt.Errorf("%w: handoff for reason %d", ErrRecord, h.Reason)
	case !ValidName(h.Member), h.OldMember != "" && !ValidName(h.OldMember):
		return nil, fmt.Errorf("%w: handoff from %.70q to %.70q", ErrRecord, h.OldMember, h.Member)
	case len(h.Signature) != 64, len(h.Release) != 0 && len(h.Release) != 64:
		return nil, fmt.Errorf("%w: handoff with signatures of %d and %d bytes", ErrRecord, len(h.Signature), len(h.Release))
	case h.Time < 0:
		return nil, fmt.Errorf("%w: handoff before 1970", ErrRecord)
	}
	return h, nil
}

// SignRelease is the old active's statement that it gives its role away to a
// member at exactly this position and will process nothing after it.
func SignRelease(k Keypair, o Origin, at Anchor, oldTerm uint64, to string) ([]byte, error) {
	d := releaseDigest(o, at, oldTerm, to)
	return k.Sign(d[:])
}

// VerifyRelease says whether the record's release is the old active's.
func (h *Handoff) VerifyRelease(o Origin, old EntityID) bool {
	d := releaseDigest(o, h.Anchor, h.OldTerm, h.Member)
	return Verify(old, d[:], h.Release)
}

func releaseDigest(o Origin, at Anchor, oldTerm uint64, to string) Hash {
	return Derive("release", o[:], at.Link[:], appendU64(nil, at.Seq, oldTerm), at.Root[:], []byte(to))
}
