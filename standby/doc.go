// Package standby runs one stateful daemon on several machines, so that any of
// them can take over with exactly the history that the others had.
//
// A [Group] is one member's handle. One member is active: it processes events
// and answers when they are committed, which means on the disks of a majority.
// The others are standbys: they hold the daemon's newest checkpoint and the
// committed events after it. Agreement is Raft's; who leads there is active.
//
//	group, err := standby.Open(cfg)
//	receipt, err := group.Deliver(ctx, standby.Event{Producer: "till-7", Sequence: 1, Payload: data})
//
// # Duties of the caller
//
//  1. The daemon depends on nothing but its state and the event: no clock (the
//     event has one), no randomness, no map order, no files. Package
//     host/hosttest finds out. A daemon that breaks this is caught and not
//     promoted, and then the group stands still.
//  2. [Config.New] makes a fresh daemon at each call and is cheap: it is called
//     at every restore, and each second to ask what the daemon requires. A
//     daemon that was replaced is dropped, without a call.
//  3. [Config.Dir] belongs to this member alone, is on a disk whose fsync is
//     true, and is neither copied back from a backup nor given to another
//     member: such a disk is refused by the others.
//  4. The founding record, the keys and the certificates come from understudy
//     init; package config reads them. The clocks of the machines should agree
//     within seconds: they decide what daemons see as time, how long outputs
//     are kept and producers remembered, and nothing that safety rests on.
//  5. Numbered events: one sender a producer's name, numbers from 1 without
//     gaps, and after an uncertain outcome the same number with the same bytes.
//     Package standby/client does this.
//  6. When [Group.Done] is closed without Close, log [Group.Err] and end the
//     process. A new one reads everything from the disk again; this one must
//     not be trusted to.
//  7. Call [Group.Close] before the process ends: an active hands its role over
//     first. Without it the group finds out by silence.
//
// # Where a call goes
//
// Deliver, DeliverBatch, Query, Sync, Switchover, StepDown, Prove and TreeHead
// are the active's; elsewhere they fail with a [NotActiveError] that says where
// to go, if that is known. Outputs, Status, Watch, History, HeadAt, Session and
// stale queries are answered by any member from what it has, which may be a
// moment behind. Package standby/httpapi serves both kinds to other processes
// and forwards where it must.
//
// # Outcomes
//
// Every error of Deliver says whether the event happened. It may have happened
// after [ErrUncertain], and only then; it did happen before with
// [ErrOldDuplicate]; with all others it did not. A receipt with Rejected or
// Refused is a committed event too: the daemon said no, or the host did for it.
// A context that ends before the event was looked at is a plain error: it did
// not happen; one that ends later is uncertain.
//
// # Concurrency
//
// All methods may be called from any goroutine. Calls of Deliver share entries,
// so many at a time are fast and one after the other is as slow as the disks.
// The daemon is called from one goroutine at a time. Two groups in one process
// do not know of each other.
//
// # Limits
//
// Members are those of the founding record, 1 to 9. An event has at most 1 MiB,
// with its outputs 4 MiB. A call into the daemon that does not come back within
// Config.StallTimeout is left behind with its state, its event is refused, and
// the daemon is rebuilt; the fourth time the member stops. What there is no call
// for, as adding a member or going on after the loss of a majority, cannot be
// done in this version.
package standby
