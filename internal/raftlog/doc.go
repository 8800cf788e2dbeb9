// Package raftlog is a Raft log in append-only files, one write and one
// fdatasync for each batch of entries, and a small file for the votes.
//
// The log is a row of segments: files of one size whose blocks are allocated
// before their use and read as zeros. Each append is a frame: it says which of
// the earlier entries still count, and adds its own. Removing entries is a frame
// too: nothing that was acknowledged is ever written over, not even the page it
// ends in, but for the newest frame, which an opening may write once more as it
// is. A frame has a number, one more than the last, and is cut into sectors
// of 512 bytes, each with the frame's number and a CRC32C over its content, its
// place and its segment's random id.
//
// A small file, the mark, lists the segments and how far each is known to be
// acknowledged. It is written when a segment begins or goes, when the log is
// opened or closed, and when nothing was appended for a moment.
//
// # What is cut and what is refused
//
// A frame is written only after the one before it is durable, and a disk writes
// a sector whole or not at all. So a power cut leaves at most the last frame
// incomplete, and every sector of it is either as written or still zero. At the
// opening, therefore:
//
//   - up to the mark every frame must be whole;
//   - after it frames are read while they are whole. Where they end, every
//     sector to the end of the segment must be zero or a whole sector of the
//     next frame: then that frame was never acknowledged, and is removed;
//   - anything else is damage, and the log is not opened: a sector that is
//     neither zero nor whole, or one of a frame after an incomplete one, which
//     proves that the incomplete one had been acknowledged.
//
// The limit of it: sectors of the newest frame of all that turn to zeros, not
// to other bytes, before the mark has passed them look as if they had not been
// written. The mark passes within a second of silence.
//
// The checksums here tell torn from damaged and whose bytes these are. They are
// 32 bits wide; that an entry is the one that Raft stored is checked end to end
// with BLAKE3 by package raftstore, for this store as for any other.
package raftlog
