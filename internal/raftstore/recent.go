package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// What recent keeps at most.
const (
	recentEntries = 1024
	recentBytes   = 4 << 20
)

// recent is the newest entries of the log, as they were stored, so that neither
// replication nor the state machine reads from disk and checks again what this
// process has just written. It is a row of entries without gaps.
type recent struct {
	mu    sync.Mutex
	logs  []*raft.Log
	bytes int
}

// add takes in entries that are durable.
func (r *recent) add(logs []*raft.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range logs {
		if n := len(r.logs); n > 0 && l.Index != r.logs[n-1].Index+1 {
			r.logs, r.bytes = nil, 0
		}
		c := *l
		r.logs = append(r.logs, &c)
		r.bytes += len(l.Data)
		for len(r.logs) > recentEntries || r.bytes > recentBytes {
			r.bytes -= len(r.logs[0].Data)
			r.logs[0] = nil
			r.logs = r.logs[1:]
		}
	}
}

// remove forgets everything if entries are removed that are here.
func (r *recent) remove(from, to uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.logs); n > 0 && from <= r.logs[n-1].Index && to >= r.logs[0].Index {
		r.logs, r.bytes = nil, 0
	}
}

func (r *recent) get(index uint64, out *raft.Log) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.logs) == 0 || index < r.logs[0].Index || index > r.logs[len(r.logs)-1].Index {
		return false
	}
	*out = *r.logs[index-r.logs[0].Index]
	return true
}
