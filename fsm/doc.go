// Package fsm is what the group has agreed on: the head of the daemon's chain,
// who is active, the journal of steps after the floor, the producers'
// sessions, and which checkpoints are held where. [State] is pure: it takes
// one log entry after the other and answers with a [Result]. [Machine] adapts
// it to Raft, and is the only part that knows of Raft.
//
// # Entries
//
// An [Entry] is what the active proposes: a batch of processed steps, a record
// that makes a link (handoff, seal), or one that makes none (sync report,
// no-op). Every replica computes the entry's links again from what it says and
// compares the last one's hash; nobody takes a hash on trust.
//
// # Rules
//
//   - The first link of a Raft term is its HANDOFF, signed by the proposer and
//     anchored on exactly the head of the state. Any other link needs the
//     entry's term, the log's term and the state's term to be one.
//   - Entries that make links count ordinals from the HANDOFF's 0. A gap means
//     that an earlier entry was lost: this and all later entries of that
//     activation are refused, on every replica alike.
//   - An entry with the right term and ordinal whose links do not come out as
//     it says is divergence: this replica applies nothing more and keeps the
//     evidence.
//   - Every numbered event is one that its producer has not had applied.
//   - The floor rises to the newest checkpoint that is durable on a majority of
//     the voters and verified by one; the journal reaches back to the
//     checkpoint before it.
//
// # Use
//
// A State has one owner and never looks at a clock, a disk or a map's order. A
// Machine is Raft's to write and everybody's to read, through [Machine.Read],
// whose function must not keep or change what it sees and must not wait. A
// Result's slices are shared with the journal. Entries and images from outside
// are bounded and refused with [ErrEntry] and [ErrImage]; the members are those
// of the founding record, so entries that would change them do not exist here.
package fsm
