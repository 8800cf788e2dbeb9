package chain

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// Why a link does not extend a chain.
var (
	ErrOrigin = errors.New("link of another origin")
	ErrGap    = errors.New("link at another position")
	ErrParent = errors.New("link with another parent")
	ErrRoot   = errors.New("link with another tree root")
	ErrTerm   = errors.New("link of a wrong term")
	ErrTime   = errors.New("link from before its parent")
	ErrCount  = errors.New("link with wrong counts")
	ErrKind   = errors.New("link of a wrong kind")
	ErrSketch = errors.New("link with another sketch of the producers")
)

// Tip is everything that is needed to extend a chain: its head and the
// frontier over all links up to the head. It has one owner; a copy is
// independent.
type Tip struct {
	Head     Head
	Frontier Frontier
}

// Draft is what is new about the next link.
type Draft struct {
	Kind       Kind
	Flags      Flags
	Term       uint64
	Time       int64 // raised to the head's time if it is lower
	Producer   string
	Input      Hash
	NewOutputs uint64
	OutputRoot Hash // of the new outputs; the empty tree's if zero
}

// Root is the tree root over all links, the head included.
func (t *Tip) Root() Hash { return t.Frontier.Root() }

// Next is the link that the draft becomes after the head. It changes nothing.
func (t *Tip) Next(d Draft) Link {
	l := d.Outline(&t.Head.Link)
	l.Parent, l.Input, l.OutputRoot = t.Head.Hash, d.Input, d.OutputRoot
	if l.OutputRoot.IsZero() {
		l.OutputRoot = emptyRoot
	}
	if l.Flags&Rooted != 0 {
		l.PrevRoot = t.Root()
	}
	return l
}

// Outline is the link that the draft becomes after prev, without hashes and roots.
func (d *Draft) Outline(prev *Link) Link {
	l := Link{
		Kind: d.Kind, Flags: d.Flags, Term: d.Term, Seq: prev.Seq + 1,
		Inputs: prev.Inputs, Outputs: prev.Outputs + d.NewOutputs, Time: max(d.Time, prev.Time),
		Horizon: prev.Horizon, Origin: prev.Origin,
	}
	if d.Kind == KindStep {
		l.Inputs++
		if d.Producer != "" && d.Flags&(Rejected|Refused) == 0 {
			l.Horizon = l.Horizon.Add(d.Producer)
		}
	} else {
		l.Flags |= Rooted
	}
	return l
}

// Append extends the chain by a link. An error says which rule the link
// breaks and leaves the tip as it was.
func (t *Tip) Append(l *Link) error {
	var root Hash
	if l.Flags&Rooted != 0 {
		root = t.Root()
	}
	if err := Validate(t.Head, root, l); err != nil {
		return err
	}
	t.extend(l, l.Hash())
	return nil
}

// Extend is Append for a link that Next just made, with its hash.
func (t *Tip) Extend(l *Link, hash Hash) { t.extend(l, hash) }

// Grow is Extend that also appends to stored what the tree stores with the
// link, as [Frontier.Grow] does.
func (t *Tip) Grow(l *Link, hash Hash, stored []Hash) []Hash {
	stored = t.Frontier.Grow(LeafHash(l), stored)
	t.Head = Head{Link: *l, Hash: hash}
	return stored
}

func (t *Tip) extend(l *Link, hash Hash) {
	t.Frontier.Append(LeafHash(l))
	t.Head = Head{Link: *l, Hash: hash}
}

// Validate says whether a link may follow prev; root is the tree root over all
// links before it and is looked at only if the link is rooted.
func Validate(prev Head, root Hash, l *Link) error {
	p := &prev.Link
	switch {
	case l.Origin != p.Origin:
		return fmt.Errorf("%w: %s, this chain is %s", ErrOrigin, l.Origin.Short(), p.Origin.Short())
	case l.Seq != p.Seq+1:
		return fmt.Errorf("%w: seq %d after %d", ErrGap, l.Seq, p.Seq)
	case l.Parent != prev.Hash:
		return fmt.Errorf("%w: seq %d names %.8s, the link before is %.8s", ErrParent, l.Seq, l.Parent, prev.Hash)
	case l.Kind == KindGenesis || l.Kind == KindFork:
		return fmt.Errorf("%w: %s at seq %d", ErrKind, l.Kind, l.Seq)
	case l.Kind == KindHandoff && l.Term <= p.Term:
		return fmt.Errorf("%w: handoff to term %d after %d", ErrTerm, l.Term, p.Term)
	case l.Kind != KindHandoff && l.Term != p.Term:
		return fmt.Errorf("%w: %d after %d without a handoff", ErrTerm, l.Term, p.Term)
	case l.Time < p.Time:
		return fmt.Errorf("%w: seq %d is %d ns older", ErrTime, l.Seq, p.Time-l.Time)
	case l.Kind == KindStep && l.Inputs != p.Inputs+1, l.Kind != KindStep && l.Inputs != p.Inputs:
		return fmt.Errorf("%w: %d inputs after %d", ErrCount, l.Inputs, p.Inputs)
	case l.Outputs < p.Outputs, l.Kind != KindStep && l.Outputs != p.Outputs,
		l.Outputs == p.Outputs && l.OutputRoot != emptyRoot,
		l.Flags&(Rejected|Refused) != 0 && l.Outputs != p.Outputs:
		return fmt.Errorf("%w: %d outputs after %d", ErrCount, l.Outputs, p.Outputs)
	case (l.Kind != KindStep || l.Flags&(Rejected|Refused) != 0) && l.Horizon != p.Horizon, !l.Horizon.mayFollow(p.Horizon):
		return fmt.Errorf("%w: %016x after %016x", ErrSketch, uint64(l.Horizon), uint64(p.Horizon))
	case l.Kind != KindStep && l.Flags != Rooted:
		return fmt.Errorf("%w: a %s link with flags %#x", ErrKind, l.Kind, uint8(l.Flags))
	case l.Flags&Rooted == 0 && !l.PrevRoot.IsZero(), l.Flags&Rooted != 0 && l.PrevRoot != root:
		return fmt.Errorf("%w: seq %d", ErrRoot, l.Seq)
	}
	return nil
}

// Genesis is the chain's beginning: a pure function of the founding record.
func Genesis(f *Founding) (Tip, error) {
	if err := f.Validate(); err != nil {
		return Tip{}, err
	}
	l := Link{
		Kind: KindGenesis, Flags: Rooted, Time: f.Time, Origin: f.Origin(),
		Input: RecordDigest(KindGenesis, f.Marshal()), OutputRoot: emptyRoot, PrevRoot: emptyRoot,
	}
	var t Tip
	t.extend(&l, l.Hash())
	return t, nil
}

// ResumeTip puts a tip together from a head link and the frontier over all
// links up to it. A rooted head is checked against the frontier as far as the
// frontier alone allows: its size.
func ResumeTip(head Link, f Frontier) (Tip, error) {
	if f.size != head.Seq+1 {
		return Tip{}, fmt.Errorf("%w: frontier of %d links under head at seq %d", ErrGap, f.size, head.Seq)
	}
	return Tip{Head: Head{Link: head, Hash: head.Hash()}, Frontier: f}, nil
}

// emptyRoot is the root of a tree without leaves.
var emptyRoot = Hash(sha256.Sum256(nil))
