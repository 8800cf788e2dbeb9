package standby

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/understudy-ha/understudy/chain"
)

// fetchSteps gets outputs from a number on, of whole steps, checked. A step may
// have more of them than one answer.
func (a *archive) fetchSteps(ctx context.Context, from source, next, limit uint64) ([]chain.Output, error) {
	var all []chain.Output
	for size := 0; ; {
		outs, err := from.outputs(ctx, next+uint64(len(all)), maxPeerBatch)
		if err != nil {
			return nil, err
		}
		all = append(all, outs...)
		if good, err := a.provenOutputs(all, limit); len(good) > 0 || err != nil {
			return good, err
		}
		for i := range outs {
			size += len(outs[i].Payload)
		}
		if len(outs) == 0 || size > maxStep {
			return nil, errors.New("the other member sent no complete step's outputs")
		}
	}
}

// maxStep bounds the bytes of a step's outputs in any group's settings.
const maxStep = 4 << 20

// wholeSteps cuts the outputs after their last complete step: a torn write may
// have left a part of one, which alone cannot be checked or gone on from. What is
// kept of the step is not read for that: it may be damaged, on every member.
func (a *archive) wholeSteps(last *chain.Link) error {
	next := a.outs.Next()
	if next <= a.outs.Oldest() || next > last.Outputs {
		return nil // none, all, or ahead of the links, from an entry that is still waiting
	}
	first, err := a.stepOf(next)
	if err != nil || first == next {
		return err
	}
	return a.locked(func() error { return a.outs.Truncate(first) })
}

// stepOf is the number of the first output of the step that an output is of, by
// the archived links, which reach so far.
func (a *archive) stepOf(output uint64) (first uint64, err error) {
	outputs := func(seq int) uint64 {
		l, lerr := a.hist.Link(uint64(seq))
		err = errors.Join(err, lerr)
		return l.Outputs
	}
	seq := sort.Search(int(a.hist.Size()), func(seq int) bool { return outputs(seq) >= output })
	return outputs(max(seq, 1)-1) + 1, err
}

// patchOutputs fetches a piece of damaged outputs from another member, from one
// on, and puts it back. It gives the number from which on more are damaged.
func (a *archive) patchOutputs(ctx context.Context, from source, output, limit uint64) (next uint64, err error) {
	first, err := a.stepOf(output)
	if err != nil {
		return 0, err
	}
	outs, err := a.fetchSteps(ctx, from, first, limit)
	if err != nil {
		return 0, err
	}
	if uint64(len(outs)) <= output-first {
		return 0, fmt.Errorf("the links of output %d are not here yet", output)
	}
	err = a.locked(func() error {
		next, err = a.outs.Patch(outs[output-first:])
		return a.sure(err)
	})
	return next, err
}

// provenOutputs checks whole steps' outputs against their links and returns
// those of the steps that are complete, none if the first is not.
func (a *archive) provenOutputs(outs []chain.Output, limit uint64) ([]chain.Output, error) {
	good := 0
	for i := 0; i < len(outs) && outs[i].Number <= limit; {
		l, err := a.hist.Link(outs[i].Seq)
		if err != nil {
			return nil, err
		}
		before := uint64(0)
		if l.Seq > 0 {
			p, err := a.hist.Link(l.Seq - 1)
			if err != nil {
				return nil, err
			}
			before = p.Outputs
		}
		n := int(l.Outputs - before)
		if n == 0 {
			return nil, fmt.Errorf("the other member has outputs of seq %d, which has none", l.Seq)
		}
		if i+n > len(outs) {
			break
		}
		payloads := make([][]byte, n)
		for j := range payloads {
			o := &outs[i+j]
			if o.Number != outs[i].Number+uint64(j) || o.Seq != l.Seq || o.Term != l.Term { // the root is of payloads only
				return nil, fmt.Errorf("output %d of the other member is not one of its link, seq %d", o.Number, l.Seq)
			}
			payloads[j] = o.Payload
		}
		if i == 0 && outs[i].Number > before+1 {
			// The other member's oldest kept output lies within a step: what is
			// left of that step cannot be checked.
			return nil, &PrunedError{Oldest: l.Outputs + 1}
		}
		if outs[i].Number != before+1 || chain.OutputRoot(before+1, payloads) != l.OutputRoot {
			return nil, fmt.Errorf("outputs of seq %d of the other member are not those that its link names", l.Seq)
		}
		i += n
		good = i
	}
	return outs[:good], nil
}
