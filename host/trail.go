package host

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/understudy-ha/understudy/chain"
)

// trail is how far a host has followed the group beyond its tip.
type trail struct {
	on   bool
	last chain.Link // as far as it is known without its hashes
}

// ErrFollowing: the host is on its way and has not arrived.
var ErrFollowing = errors.New("the host follows the group and has not arrived")

// Follow has the daemon process a committed step again. flags are as recorded,
// with Rooted for the last step of an entry. What the daemon puts out is compared
// with what is recorded and not hashed: the same events with the same outputs
// make the same links, which somebody else may make meanwhile. Until the host has
// arrived it can only go on following. A [DivergenceError] poisons it.
func (h *Host) Follow(ev chain.Event, flags chain.Flags, want [][]byte) error {
	at := h.outline()
	if err := h.admitAfter(&at, &ev); err != nil {
		return err
	}
	var outs [][]byte
	if flags&chain.Refused == 0 {
		var input chain.Hash
		if h.attend != nil {
			input = digest(&ev)
		}
		var err error
		if outs, err = h.again(ev, input, flags); err != nil {
			return err
		}
	}
	same := len(outs) == len(want)
	for i := 0; same && i < len(outs); i++ {
		same = bytes.Equal(outs[i], want[i])
	}
	if !same {
		return h.diverge(&DivergenceError{Seq: ev.Seq, Detail: fmt.Sprintf("other outputs than are recorded (%d and %d)", len(outs), len(want))})
	}
	d := chain.Draft{Kind: chain.KindStep, Flags: flags, Term: ev.Term, Time: ev.Time, Producer: ev.Producer, NewOutputs: uint64(len(outs))}
	h.trail = trail{true, d.Outline(&at)}
	h.count(&ev, len(outs), flags)
	return nil
}

// Skip follows over a committed link that is no step.
func (h *Host) Skip(kind chain.Kind, term uint64, time int64) error {
	if h.poison != nil {
		return h.poison
	}
	at := h.outline()
	d := chain.Draft{Kind: kind, Term: term, Time: time}
	h.trail = trail{true, d.Outline(&at)}
	return nil
}

// Arrive ends following at a tip that was made from the same history. One that
// cannot be the daemon's place is a [DivergenceError] and poisons the host.
func (h *Host) Arrive(tip *chain.Tip) error {
	if h.poison != nil {
		return h.poison
	}
	at, there := h.outline(), tip.Head.Link
	bare := func(l chain.Link) chain.Link {
		l.Parent, l.Input, l.OutputRoot, l.PrevRoot = chain.Hash{}, chain.Hash{}, chain.Hash{}, chain.Hash{}
		return l
	}
	if bare(at) != bare(there) || !h.trail.on && h.tip.Head.Hash != tip.Head.Hash {
		return h.diverge(&DivergenceError{Seq: there.Seq, Detail: fmt.Sprintf("the daemon is at seq %d, in another place than link %.8s", at.Seq, tip.Head.Hash)})
	}
	h.tip, h.trail, h.fresh = *tip, trail{}, false
	return nil
}

// outline is the link at the daemon's place, maybe without its hashes.
func (h *Host) outline() chain.Link {
	if h.trail.on {
		return h.trail.last
	}
	return h.tip.Head.Link
}

// arrived is an error while the host is poisoned or on its way.
func (h *Host) arrived() error {
	switch {
	case h.poison != nil:
		return h.poison
	case h.trail.on:
		return fmt.Errorf("%w: it is at seq %d", ErrFollowing, h.trail.last.Seq)
	}
	return nil
}
