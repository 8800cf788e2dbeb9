package standby

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// Sync makes a checkpoint now and waits until every standby that answers has
// restored it, or ctx ends.
func (g *Group) Sync(ctx context.Context) (SyncResult, error) {
	seal, err := g.sealOnDemand(ctx)
	if err != nil {
		return SyncResult{}, err
	}
	res := SyncResult{Seq: seal.Seq, Manifest: seal.Manifest, Bytes: seal.Size, Members: map[string]string{g.cfg.Member: "source"}}
	said := make(map[string]*string)
	var wg sync.WaitGroup
	for _, m := range g.voters() {
		if m != g.cfg.Member {
			what := new(string)
			said[m] = what
			wg.Go(func() { *what = g.restored(ctx, m, seal.Seq) })
		}
	}
	wg.Wait()
	for m, what := range said {
		res.Members[m] = *what
	}
	return res, nil
}

// restored waits until a member that answers has restored the checkpoint at
// seq, or ctx ends, and says how far it came.
func (g *Group) restored(ctx context.Context, member string, seq uint64) (said string) {
	for {
		pctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		pos, err := g.peers.position(pctx, member, 0, 0)
		cancel()
		switch {
		case err != nil && said != "" && ctx.Err() != nil:
			return said // this call was cut short, the one before it was answered
		case err != nil:
			return "does not answer: " + err.Error()
		case pos.Restored >= seq:
			return "synced"
		}
		said = fmt.Sprintf("restored seq %d, wants %d", pos.Restored, seq)
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return said
		}
	}
}

// sealOnDemand has the active's sealer make a checkpoint and returns the newest seal.
func (g *Group) sealOnDemand(ctx context.Context) (chain.Seal, error) {
	a, err := g.activation()
	if err != nil {
		return chain.Seal{}, err
	}
	answer := make(chan sealed, 1)
	select {
	case a.sealNow <- answer:
	case <-a.ctx.Done():
		return chain.Seal{}, g.notActive()
	case <-ctx.Done():
		return chain.Seal{}, context.Cause(ctx)
	}
	select {
	case s := <-answer:
		return s.seal, s.err
	case <-a.ctx.Done():
		return chain.Seal{}, g.notActive()
	case <-ctx.Done():
		return chain.Seal{}, context.Cause(ctx)
	}
}

// sealed is the sealer's answer.
type sealed struct {
	seal chain.Seal
	err  error
}
