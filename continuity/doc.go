// Package continuity proves, and checks offline, that a group's history of now
// continues the history that somebody knew before.
//
// What somebody keeps is a [Held]: the size of the chain at some point and the
// hash of its newest link (a "head", 32 bytes), or the root of an older signed
// tree head. What they get is a bundle made by [Prove]: text of a few kilobytes
// whatever the length of the history. [Verify] needs only the bundle, what is
// held, and the founding record by which the group is known: no log, no
// payloads, no network. It tells that every event between the two heads is
// where it was, that each change of the active was a signed handoff anchored on
// exactly the head before it, and that none is left out.
//
// The tree arithmetic and the signed tree heads are golang.org/x/mod's tlog and
// note, so everybody's tools for transparency logs can check those parts. A
// bundle ends in a request as C2SP's tlog-witness describes it.
//
// All functions are pure and may be called at the same time. A bundle shows at
// most [MaxHandoffs] and has at most [MaxBundle] bytes. Across more of them one
// goes in steps, as far as [Reach] each time; the bundles one after the other
// are one proof. Whatever a proof does not prove is one error,
// [ErrUnverifiable]; its text is for people.
//
// What a proof cannot tell: whether the events were right, and whether the group
// showed somebody else another end. The tree head is vouched for by those who
// signed it, whom the verdict names; keep it, and two that do not fit together
// convict their signer.
package continuity
