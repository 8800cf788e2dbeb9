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

// What is asked while leadership moves, or ends the role then, does not restart
// the Raft that is about to give it away: the switchover takes place.
func TestWhatComesDuringATransfer(t *testing.T) {
	for what, f := range map[string]func(t *testing.T, g *Group, n *node){
		"queries": func(t *testing.T, g *Group, _ *node) {
			for range 10 {
				go g.Query(t.Context(), nil, false)
			}
		},
		"a stall": func(_ *testing.T, _ *Group, n *node) { n.yield(errors.New("the disk is slow")) },
	} {
		t.Run(what, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				c := newCluster(t, 3, newTally)
				c.must("p", 1, "x")
				c.settled()
				c.sw.Delay(time.Millisecond) // else it is over at once
				old := c.active()
				n := old.node.Load()
				moving := make(chan struct{})
				go func() {
					defer close(moving)
					noop := fsm.Entry{Kind: fsm.NoopEntry, Term: n.raft.CurrentTerm()}
					for range 10_000 {
						if err := n.raft.Apply(noop.Marshal(nil), time.Second).Error(); errors.Is(err, raft.ErrLeadershipTransferInProgress) {
							f(t, old, n)
							return
						}
						time.Sleep(50 * time.Microsecond)
					}
				}()
				start := time.Now()
				res, err := old.Switchover(t.Context(), "")
				require.NoError(t, err)
				<-moving
				require.Less(t, time.Since(start), 500*time.Millisecond)
				require.Equal(t, res.To, c.active().cfg.Member)
				require.Same(t, n, old.node.Load(), "its Raft was restarted")
				c.must("p", 2, "y")
				c.check()
			})
		})
	}
}

// A member that was cut off a moment ago is not the one to which the role goes: the
// queue would be shut until the caller's deadline.
func TestRoleGoesToAMemberThatAnswers(t *testing.T) {
	for _, what := range []string{"step-down", "shutdown"} {
		t.Run(what, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				c := newCluster(t, 5, newTally)
				c.must("p", 1, "x")
				c.settled()
				old := c.active()
				time.Sleep(3 * time.Second)
				gone := old.successor()
				require.NotEmpty(t, gone)
				c.sw.Isolate(gone, c.others(gone)...)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				start := time.Now()
				if what == "shutdown" {
					go old.Close(ctx)
				} else {
					go old.StepDown(ctx, time.Minute)
				}
				c.eventually("another one is active", func() bool { return c.active() != old })
				require.Less(t, time.Since(start), 5*time.Second)
				require.NotEqual(t, gone, c.active().cfg.Member)
			})
		})
	}
}
