package standby

import (
	"errors"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

// compact has Raft snapshot the state machine and let go of old entries whenever
// there are enough, so that a restart replays few and the log takes little room.
// Raft's own timer begins anew with each start: a member that was killed every
// half minute would never come to it, and would replay more each time.
func (n *node) compact() {
	cfg := &n.g.cfg
	tick := time.NewTicker(min(time.Second, cfg.SnapshotInterval))
	defer tick.Stop()
	r := &retention{interval: cfg.SnapshotInterval, trailing: cfg.TrailingLogs}
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		last, _ := strconv.ParseUint(n.raft.Stats()["last_snapshot_index"], 10, 64)
		first, err := n.stores.Log.FirstIndex()
		if err != nil || first == 0 { // nothing is held
			first = last + 1
		}
		keep, due := r.look(time.Now(), mark{n.raft.AppliedIndex(), n.bytes.Load()}, last, first)
		if !due {
			continue
		}
		if err := n.snapshot(keep); err != nil && n.ctx.Err() == nil {
			n.log.Warn("no raft snapshot; entries are kept until one succeeds", "err", err)
		}
	}
}

// snapshot makes a Raft snapshot and lets go of all entries under it but the
// newest of the log.
func (n *node) snapshot(keep uint64) error {
	c := n.raft.ReloadableConfig()
	if c.TrailingLogs != keep {
		c.TrailingLogs = keep
		if err := n.raft.ReloadConfig(c); err != nil {
			return err
		}
	}
	err := within(n.ctx, time.Minute, func() error { return n.raft.Snapshot().Error() })
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
