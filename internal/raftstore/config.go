package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// Config is how the product sets Raft, but for the timings, what is kept of the
// log, and the logger, which are the member's.
func Config(member string) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(member)
	c.CommitTimeout = 50 * time.Millisecond
	c.MaxAppendEntries = 16
	c.BatchApplyCh = false // else an enqueue time-out would not be definite
	c.NoLegacyTelemetry = true
	return c
}
