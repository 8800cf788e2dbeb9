// Package chain is the history of a standby group as values: links, heads, the
// Merkle frontier over them, the records that some links carry, and the
// identities that sign. It has no I/O, no clock and no goroutine.
//
// A chain is a sequence of 224-byte [Link] values. Each names the BLAKE3 hash
// of the one before it, so a [Head] fixes everything before it; and each is a
// leaf of an RFC 6962 SHA-256 tree, so any later head can be proven to
// continue an earlier one in O(log n) with ordinary transparency-log tools. A
// link commits to one processed event and its outputs (STEP), or to a record:
// GENESIS, HANDOFF, ROSTER, SEAL, FORK.
//
// To extend a chain keep a [Tip]: ask it for the [Tip.Next] link of a [Draft],
// then [Tip.Append] it. To check a chain that somebody else made, Append each
// link: it accepts exactly the links that Next would have made from the same
// facts, and says with a typed error which rule a bad one breaks.
//
// Everything here is a value: whoever has a copy may use it from any goroutine. A
// Tip and a Horizon that are being extended have one owner. Parsers take exactly
// what the encoders write, refuse the rest with [ErrLink] or [ErrRecord] before
// they allocate for it, and never panic on bytes from outside.
//
// All numbers are big-endian on the wire; docs/formats.md has the byte tables.
package chain
