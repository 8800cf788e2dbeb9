package continuity

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/understudy-ha/understudy/chain"
)

// Held is what a verifier knows of the history from before: its size, and the
// hash of its newest link or the root of its tree, or both.
type Held struct {
	Size uint64
	Hash chain.Hash
	Root chain.Hash
}

// Verdict is what a bundle proves.
type Verdict struct {
	From, To uint64       // sizes
	Handoffs []Transition // between them, in order
	Head     chain.Hash   // of the newest link
	Root     chain.Hash   // over all To links
	Term     uint64       // of the newest link
	Vouching []string     // members whose signatures are on the tree head
	Inputs   uint64       // events up to the newest link
}

// Transition is one change of the active.
type Transition struct {
	Seq, Term uint64
	From, To  string
	Reason    chain.Reason
}

// String is the verdict in words.
func (v Verdict) String() string {
	s := fmt.Sprintf("continuous from size %d to %d", v.From, v.To)
	switch n := len(v.Handoffs); n {
	case 0:
	case 1:
		s += ", 1 handoff"
	default:
		s += fmt.Sprintf(", %d handoffs", n)
	}
	return fmt.Sprintf("%s; %d member vouches for the tree head: %v", s, len(v.Vouching), v.Vouching)
}

// Held is what the holder of a verdict holds from now on.
func (v Verdict) Held() Held { return Held{Size: v.To, Hash: v.Head, Root: v.Root} }

// ErrUnverifiable: the bundle does not prove what it should. The text says why.
var ErrUnverifiable = errors.New("unverifiable")

// Verify checks a proof against what is held and the founding record by which
// the group is known. A proof is one bundle, or several one after the other, each
// from where the one before ended. The last one's tree head must be signed by
// its newest active; the others' by any member, since that last one covers them.
// Every error is ErrUnverifiable.
func Verify(proof []byte, held Held, f *chain.Founding) (Verdict, error) {
	all := Verdict{From: held.Size}
	for n := 1; ; n++ {
		bundle, rest := cut(proof)
		v, active, err := verify(bundle, held, f)
		switch {
		case err != nil:
		case n > 1 && v.To == held.Size:
			err = errors.New("it adds nothing to the one before")
		case len(rest) == 0 && !slices.Contains(v.Vouching, active):
			err = fmt.Errorf("the tree head is not signed by %s, who is active in term %d", active, v.Term)
		}
		if err != nil {
			if n > 1 || len(rest) > 0 {
				err = fmt.Errorf("bundle %d: %w", n, err)
			}
			return Verdict{}, fmt.Errorf("%w: %w", ErrUnverifiable, err)
		}
		v.From, v.Handoffs = all.From, append(all.Handoffs, v.Handoffs...)
		if all = v; len(rest) == 0 {
			return all, nil
		}
		held, proof = v.Held(), rest
	}
}

// cut splits the first bundle off a proof.
func cut(proof []byte) (bundle, rest []byte) {
	if i := bytes.Index(proof, []byte("\n"+bundleHeader+"\n")); i >= 0 {
		return proof[:i+1], proof[i+1:]
	}
	return proof, nil
}

// edge is a link and the frontier before it.
type edge struct {
	link     chain.Link
	frontier []chain.Hash
}

// root is the tree root over all links up to the edge's.
func (e *edge) root() (chain.Hash, error) {
	f, err := chain.NewFrontier(e.link.Seq, e.frontier)
	if err != nil {
		return chain.Hash{}, err
	}
	if e.link.Flags&chain.Rooted != 0 && f.Root() != e.link.PrevRoot {
		return chain.Hash{}, errors.New("the frontier is not that of the link's previous root")
	}
	f.Append(chain.LeafHash(&e.link))
	return f.Root(), nil
}

// transition is a handoff group.
type transition struct {
	link   chain.Link
	path   []chain.Hash
	record []byte
}

// bundle is the parsed text.
type bundle struct {
	founding     []byte
	anchor, head edge
	handoffs     []transition
	old          uint64
	proof        []chain.Hash
	note         []byte
}

func parse(b []byte) (*bundle, error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("%d bytes, at most %d", len(b), MaxBundle)
	}
	l := &lines{rest: string(b)}
	if s := l.next(); s != bundleHeader {
		return nil, fmt.Errorf("it begins with %.40q, not %q", s, bundleHeader)
	}
	var p bundle
	var err error
	if p.founding, err = decode(l.field("founding")); err != nil {
		l.fail("%w", err)
	}
	p.anchor = edge{l.link("anchor"), l.hashes()}
	for l.err == nil && len(l.peek()) > 8 && l.peek()[:8] == "handoff " {
		t := transition{link: l.link("handoff"), path: l.hashes()}
		if t.record, err = decode(l.field("record")); err != nil {
			l.fail("%w", err)
		}
		p.handoffs = append(p.handoffs, t)
	}
	p.head = edge{l.link("head"), l.hashes()}
	if p.old, err = parseNumber(l.field("old")); err != nil {
		l.fail("%w", err)
	}
	p.proof = l.hashes()
	if s := l.next(); s != "" {
		l.fail("%.40q where an empty line belongs", s)
	}
	p.note = []byte(l.rest)
	return &p, l.err
}

// verify checks one bundle. It returns the active at its end, who may not be
// among those that vouch for it.
func verify(b []byte, held Held, f *chain.Founding) (v Verdict, active string, err error) {
	p, err := parse(b)
	if err != nil {
		return v, "", err
	}
	if string(p.founding) != string(f.Marshal()) {
		return v, "", errors.New("the bundle is of another group than the pinned one")
	}
	th, err := OpenTreeHead(p.note, f)
	if err != nil {
		return v, "", err
	}
	if err := p.checkAnchor(held, &th, f.Origin()); err != nil {
		return v, "", err
	}
	v = Verdict{From: held.Size, To: th.Size, Root: th.Root, Vouching: th.Members}
	active, term, err := p.checkHandoffs(&v, &th, f)
	if err != nil {
		return v, "", err
	}
	root, err := p.head.root()
	h := &p.head.link
	switch {
	case err != nil:
		return v, "", fmt.Errorf("head: %w", err)
	case h.Seq != th.Size-1 || root != th.Root || h.Origin != f.Origin():
		return v, "", errors.New("the newest link is not the last under the tree head")
	case h.Term != term:
		return v, "", fmt.Errorf("the newest link is of term %d, the newest handoff of %d", h.Term, term)
	}
	v.Head, v.Term, v.Inputs = h.Hash(), h.Term, h.Inputs
	return v, active, nil
}

// checkAnchor checks that the bundle begins at what is held.
func (p *bundle) checkAnchor(held Held, th *TreeHead, o chain.Origin) error {
	a := held.Size
	root, err := p.anchor.root()
	switch {
	case a == 0 || held.Hash.IsZero() && held.Root.IsZero():
		return errors.New("nothing is held that a proof could begin at")
	case err != nil:
		return fmt.Errorf("anchor: %w", err)
	case p.anchor.link.Seq != a-1 || p.old != a || p.anchor.link.Origin != o:
		return fmt.Errorf("the bundle is for a head of size %d, held is one of size %d", p.old, a)
	case !held.Hash.IsZero() && p.anchor.link.Hash() != held.Hash:
		return fmt.Errorf("the link at seq %d is another one than was held", a-1)
	case !held.Root.IsZero() && root != held.Root:
		return fmt.Errorf("the tree of size %d is another one than was held", a)
	case a > th.Size:
		return fmt.Errorf("the tree head has %d links, fewer than the %d held", th.Size, a)
	}
	proof := make(tlog.TreeProof, len(p.proof))
	for i, h := range p.proof {
		proof[i] = tlog.Hash(h)
	}
	if err := tlog.CheckTree(proof, int64(th.Size), tlog.Hash(th.Root), int64(a), tlog.Hash(root)); err != nil {
		return fmt.Errorf("the tree of size %d does not continue the one of size %d: %w", th.Size, a, err)
	}
	return nil
}

// released says whether the old active gave its role away to the new one.
func released(rec *chain.Handoff, f *chain.Founding) bool {
	old, ok := f.Roster.Member(rec.OldMember)
	return ok && len(rec.Release) > 0 && rec.VerifyRelease(f.Origin(), old.LogKey)
}

// checkHandoffs follows the changes of the active from the anchor on. It
// returns the newest active and its term.
func (p *bundle) checkHandoffs(v *Verdict, th *TreeHead, f *chain.Founding) (member string, term uint64, err error) {
	a, roster := v.From, f.Roster.Digest()
	term = p.anchor.link.Term
	prev, known := uint64(0), false // the handoff before, if it is in the bundle
	for i := range p.handoffs {
		t := &p.handoffs[i]
		fail := func(format string, args ...any) (string, uint64, error) {
			return "", 0, fmt.Errorf("handoff at seq %d: %w", t.link.Seq, fmt.Errorf(format, args...))
		}
		rec, err := chain.ParseHandoff(t.record)
		if err != nil {
			return fail("%w", err)
		}
		path := make(tlog.RecordProof, len(t.path))
		for j, h := range t.path {
			path[j] = tlog.Hash(h)
		}
		if err := tlog.CheckRecord(path, int64(th.Size), tlog.Hash(th.Root), int64(t.link.Seq), tlog.Hash(chain.LeafHash(&t.link))); err != nil {
			return fail("it is not in the tree: %w", err)
		}
		m, ok := f.Roster.Member(rec.Member)
		l := &t.link
		switch {
		case l.Kind != chain.KindHandoff || l.Input != chain.RecordDigest(chain.KindHandoff, t.record):
			return fail("the record is not the one that the link names")
		case rec.Seq != l.Seq || rec.Term != l.Term || rec.Anchor.Seq != l.Seq-1 || rec.Anchor.Link != l.Parent || rec.Anchor.Root != l.PrevRoot:
			return fail("the record is anchored elsewhere than its link")
		case !ok || m.Flags&chain.Voter == 0 || !rec.Verify(m.LogKey) || rec.Roster != roster:
			return fail("it is not signed by a member of the roster")
		case rec.Term <= rec.OldTerm:
			return fail("it goes from term %d to %d", rec.OldTerm, rec.Term)
		case l.Seq < a && (len(p.handoffs) != 1 || l.Term != term):
			return fail("it lies before what is held")
		case l.Seq >= a && (rec.OldTerm != term || known && rec.PrevHandoff != prev || !known && rec.PrevHandoff >= a):
			return fail("one before it is left out")
		case l.Seq == a && l.Parent != p.anchor.link.Hash():
			return fail("its parent is not the head that was held")
		case rec.Reason == chain.ReasonFirst && rec.PrevHandoff != 0, known && rec.OldMember != member:
			return fail("it says %q, reason %s, of a role that was %q's", rec.OldMember, rec.Reason, member)
		case (rec.Reason == chain.ReasonPlanned) != released(rec, f):
			return fail("it is for reason %s, and %q gave the role away: %v", rec.Reason, rec.OldMember, released(rec, f))
		}
		if l.Seq >= a {
			v.Handoffs = append(v.Handoffs, Transition{l.Seq, l.Term, rec.OldMember, rec.Member, rec.Reason})
		}
		prev, known, term, member = l.Seq, true, rec.Term, rec.Member
	}
	if member == "" && term > 0 {
		return "", 0, errors.New("the handoff to the newest active is left out")
	}
	if member == "" {
		return "", 0, errors.New("nobody was active yet who could vouch for it")
	}
	return member, term, nil
}
