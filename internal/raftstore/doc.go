// Package raftstore is the stores that Raft writes to, behind wrappers that
// make up for what hashicorp/raft and raft-boltdb leave open:
//
//   - every log entry carries a BLAKE3 checksum and is checked at each read;
//   - a vote's term and candidate are one write (a crash between two writes
//     could make a restarted member vote again for the wrong log);
//   - the first failed write ends it all ([Options.OnFatal]): after a failed
//     fsync only what a new process reads from disk is true;
//   - a write that takes too long is reported, then treated as failed;
//   - snapshots have a digest, are checked before the start, and leftovers of
//     failed ones are removed;
//   - an installed snapshot removes log entries of another line under it, which
//     would otherwise make Raft install it again for ever;
//   - what was made once and is gone is damage: a log, the votes, the newest
//     snapshot are not silently begun anew or replaced by older ones;
//   - a large snapshot becomes durable while it is written, and holds up no
//     write of the log;
//   - a damaged file is refused before any library maps it.
package raftstore
