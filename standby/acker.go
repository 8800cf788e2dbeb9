package standby

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
)

// acks waits for the proposed entries in order and answers their producers:
// nothing leaves before the state machine has accepted the entry. The first
// entry that fails ends the role.
func (a *activation) acker() {
	lost := false
	for fl := range a.landed {
		res, err := a.await(fl.future)
		if err != nil && !(fl.plain && errors.Is(err, errNotAccepted)) {
			a.end(err)
			lost = true
		}
		fl.failed = lost
		for i, p := range fl.events {
			if err != nil {
				p.finish(Result{Err: outcome(err)})
			} else {
				p.finish(Result{Receipt: receipt(p, res, i)})
			}
		}
		for _, q := range fl.queries {
			if lost { // also an earlier entry: the answer reflects it
				q.err = &NotActiveError{}
			}
			close(q.done)
		}
		if fl.then != nil {
			fl.then(res, err)
		}
		a.acks <- fl // has room for all that may be in flight
	}
}

// errNotProposed: the entry never entered the log, or every replica refused it.
var errNotProposed = errors.New("the entry was not committed")

// errNotAccepted: every replica refused the entry. A record that makes no link
// may be refused without harm: nothing depends on it.
var errNotAccepted = errors.New("refused by the state machine")

// ackStep is how long an entry is waited for when the time for all of them is
// over: it may have its answer already.
const ackStep = 20 * time.Millisecond

// await waits for one future with a deadline of our own: futures of a raft
// that shuts down may never complete.
func (a *activation) await(f raft.ApplyFuture) (*fsm.Result, error) {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	patience := a.n.g.cfg.CommitTimeout
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ended := a.ctx.Done()
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-done:
			waiting = false
		case <-ended: // Raft tells soon, unless it hangs: then of no entry
			ended = nil
			if a.given.IsZero() {
				a.given = time.Now().Add(a.n.g.cfg.StallTimeout)
			}
			patience = max(time.Until(a.given), ackStep)
			deadline.Reset(patience)
		case <-deadline.C:
			return nil, fmt.Errorf("no commit within %v", patience)
		case <-a.n.ctx.Done():
			return nil, errors.New("the member is stopping")
		}
	}
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return nil, fmt.Errorf("%w: %w", errNotProposed, err)
	case err != nil:
		return nil, err
	}
	res, _ := f.Response().(*fsm.Result)
	switch {
	case res == nil:
		return nil, errors.New("the state machine gave no answer")
	case res.Status == fsm.Refused:
		return nil, fmt.Errorf("%w: %w: %w", errNotProposed, errNotAccepted, res.Err)
	case res.Status != fsm.Accepted:
		return nil, fmt.Errorf("the state machine did not accept the entry: %w", res.Err)
	}
	return res, nil
}

// outcome says what a failed entry means for its events.
func outcome(err error) error {
	if errors.Is(err, errNotProposed) {
		return &NotActiveError{}
	}
	return &UncertainError{Reason: err.Error()}
}

func receipt(p *pending, res *fsm.Result, i int) Receipt {
	r := Receipt{
		Producer: p.ev.Producer, Sequence: p.ev.Sequence,
		Seq: p.seq, Term: res.Links[i].Term, Link: p.hash,
		Outputs: uint64(len(p.outs)), OutputData: p.outs,
		Rejected: p.flags&chain.Rejected != 0, Refused: p.flags&chain.Refused != 0, Reason: p.reason,
	}
	if r.Outputs > 0 {
		r.FirstOutput = res.Links[i].Outputs - r.Outputs + 1
	}
	return r
}
