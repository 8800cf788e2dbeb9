package standby

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/fsm"
)

// promised is a future that says what it is told to, once released.
type promised struct {
	raft.ApplyFuture
	release  chan struct{} // nil: at once
	err      error
	response any
}

func (a *promised) Error() error {
	if a.release != nil {
		<-a.release
	}
	return a.err
}

func (a *promised) Response() any { return a.response }

// A Raft that hangs is waited for once when the role has ended, and not with each
// entry in flight.
func TestEntriesInFlightShareTheirTime(t *testing.T) {
	simulate(t, func(t *testing.T) {
		n := &node{g: &Group{cfg: Config{CommitTimeout: time.Minute, StallTimeout: 2 * time.Second}}}
		n.ctx, n.cancel = context.WithCancelCause(t.Context())
		a := &activation{n: n}
		var end context.CancelFunc
		a.ctx, end = context.WithCancel(n.ctx)
		end()
		release := make(chan struct{})
		defer close(release)
		start := time.Now()
		for range 16 {
			_, err := a.await(&promised{release: release})
			require.ErrorIs(t, outcome(err), ErrUncertain)
		}
		_, err := a.await(&promised{response: &fsm.Result{Status: fsm.Accepted}})
		require.NoError(t, err, "what is answered is answered")
		require.Less(t, time.Since(start), 3*time.Second)
	})
}

// What became of an entry decides what producers are told: only what certainly
// did not happen may be called so. A future may never answer (hashicorp/raft
// issue 498), and an answer may be empty after a panic of the state machine.
func TestOutcomeOfEntries(t *testing.T) {
	refused := &fsm.Result{Status: fsm.Refused, Err: errors.New("ordinal gap")}
	for name, c := range map[string]struct {
		future promised
		want   error // nil: accepted
	}{
		"accepted":                    {promised{response: &fsm.Result{Status: fsm.Accepted}}, nil},
		"never entered the log":       {promised{err: raft.ErrNotLeader}, ErrNotActive},
		"not during a transfer":       {promised{err: raft.ErrLeadershipTransferInProgress}, ErrNotActive},
		"no room in time":             {promised{err: raft.ErrEnqueueTimeout}, ErrNotActive},
		"refused by every replica":    {promised{response: refused}, ErrNotActive},
		"leadership lost":             {promised{err: raft.ErrLeadershipLost}, ErrUncertain},
		"raft was shut down":          {promised{err: raft.ErrRaftShutdown}, ErrUncertain},
		"disk error":                  {promised{err: errors.New("EIO")}, ErrUncertain},
		"no response":                 {promised{}, ErrUncertain},
		"diverged here":               {promised{response: &fsm.Result{Status: fsm.Diverged, Err: errors.New("x")}}, ErrUncertain},
		"a future that never answers": {promised{release: make(chan struct{})}, ErrUncertain},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				n := &node{g: &Group{cfg: Config{CommitTimeout: time.Second}}}
				n.ctx, n.cancel = context.WithCancelCause(t.Context())
				a := &activation{n: n, ctx: n.ctx}
				start := time.Now()
				release := make(chan struct{})
				if c.future.release != nil {
					c.future.release = release
				}
				defer close(release)
				_, err := a.await(&c.future)
				require.LessOrEqual(t, time.Since(start), n.g.cfg.CommitTimeout)
				if c.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, outcome(err), c.want)
				}
			})
		})
	}
}
