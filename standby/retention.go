package standby

import "time"

// What a member keeps of the Raft log, beside TrailingLogs: entries may have
// megabytes each, and are not needed once everybody has them.
const (
	snapshotEntries = 8192      // worth a Raft snapshot
	logBytes        = 128 << 20 // worth a Raft snapshot, and kept behind one at least
	markBytes       = 1 << 20   // between two marks

	// A log that gets fewer than restKept entries in the time between two Raft
	// snapshots rests.
	restEntries = 1024 // worth a Raft snapshot then
	restKept    = 16   // behind it
)

// mark is a place in the log: an index, and the bytes of all entries up to it
// since the member started.
type mark struct {
	index uint64
	bytes int64
}

// retention decides when old entries go, and how many stay for members that
// were away for a moment.
type retention struct {
	interval time.Duration // at least between two Raft snapshots, and before a rest
	trailing uint64        // at most kept

	marks []mark // oldest first, the oldest is logBytes behind or the first of all
	base  uint64
	since time.Time // restKept entries from base were not reached
	tried time.Time // the last Raft snapshot
}

// look says at a moment, from what is applied, the index of the newest Raft
// snapshot and the oldest entry that is kept, whether the next Raft snapshot is
// due and how many entries to keep behind the log's end.
func (r *retention) look(now time.Time, applied mark, snapshot, first uint64) (keep uint64, due bool) {
	if applied.index >= r.base+restKept || r.since.IsZero() {
		r.base, r.since = applied.index, now
	}
	if n := len(r.marks); n == 0 || applied.bytes-r.marks[n-1].bytes >= markBytes {
		r.marks = append(r.marks, applied)
	}
	for len(r.marks) > 1 && applied.bytes-r.marks[1].bytes >= logBytes {
		r.marks = r.marks[1:]
	}
	keep = r.trailing
	due = applied.index >= snapshot+min(snapshotEntries, r.trailing)
	if old := r.marks[0]; applied.bytes-old.bytes >= logBytes {
		keep = min(keep, applied.index-old.index)
		due = due || old.index >= snapshot
	}
	if now.Sub(r.since) >= r.interval && applied.index >= first+restEntries {
		keep, due = min(keep, restKept), true
	}
	if due = due && now.Sub(r.tried) >= r.interval; due {
		r.tried = now
	}
	return keep, due
}
