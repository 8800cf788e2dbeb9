package standby

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// What the replica's goroutine has the daemon do runs on a goroutine of its own
// and may be left behind there, with the host that it uses. So a daemon that
// hangs on a standby holds up neither a promotion nor the end of the member.

// standbyPatience is how many promotion stalls a standby gives a step of its daemon:
// nobody waits for it, and a large state may take its time to be restored.
const standbyPatience = 5

func (c *Config) standbyStall() time.Duration { return standbyPatience * c.PromotionStall }

// leashed runs f, which calls the daemon. After errHung the host in it is lost.
func leashed[T any](ctx context.Context, r *replica, what string, stall time.Duration, f func(context.Context) (T, error)) (T, error) {
	v, err := watched(ctx, stall, r.progress.Load, f)
	if errors.Is(err, errHung) {
		r.n.g.leftBehind(what, err)
	}
	return v, err
}

// query answers from the committed state. A daemon that hangs in it is replaced
// at the next turn.
func (r *replica) query(request []byte) (Answer, error) {
	g := r.n.g
	ans := Answer{Member: g.cfg.Member}
	h := r.host
	if h == nil {
		return ans, fmt.Errorf("this member has no state yet: %w", g.notActive())
	}
	ans.Seq, ans.Term = h.Sequence(), h.Term()
	var err error
	ans.Data, err = leashed(r.n.ctx, r, "a stale query", g.cfg.StallTimeout, func(context.Context) ([]byte, error) {
		return h.Query(request)
	})
	if errors.Is(err, errHung) {
		r.host = nil
	}
	return ans, err
}

// fresh is a host at genesis.
func (r *replica) fresh(ctx context.Context) (*host.Host, error) {
	g := r.n.g
	return leashed(ctx, r, "a fresh daemon", g.cfg.standbyStall(), func(context.Context) (*host.Host, error) {
		return host.New(g.cfg.New(), g.cfg.Founding, g.cfg.Keys.Log, g.hostConfig())
	})
}

// restore makes a host that nobody uses yet: a promotion does not wait for it but
// goes on with the one from before. One at a time, as each has a whole state.
func (r *replica) restore(ctx context.Context, seal *chain.Seal) (*host.Host, error) {
	select {
	case r.restoring <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	type restored struct {
		h   *host.Host
		err error
	}
	done := make(chan restored, 1)
	r.n.goFunc(func() {
		defer func() { <-r.restoring }()
		h, err := leashed(ctx, r, "a restore", r.n.g.cfg.standbyStall(), func(ctx context.Context) (*host.Host, error) {
			return r.n.restore(ctx, seal)
		})
		done <- restored{h, err}
	})
	select {
	case got := <-done:
		return got.h, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *replica) replay(ctx context.Context, h *host.Host, upTo uint64) error {
	_, err := leashed(ctx, r, "a replay", r.n.g.cfg.standbyStall(), func(ctx context.Context) (uint64, error) {
		return r.n.replay(ctx, h, upTo)
	})
	return err
}

func (r *replica) sameState(ctx context.Context, h *host.Host, seal *chain.Seal) error {
	_, err := leashed(ctx, r, "comparing a snapshot", r.n.g.cfg.standbyStall(), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.n.sameState(ctx, h, seal)
	})
	return err
}
