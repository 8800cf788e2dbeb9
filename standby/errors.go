package standby

import (
	"errors"
	"fmt"
	"time"
)

// What a caller can be told, apart from a receipt. Every refusal says whether
// the event happened: all of these mean it did not, except [UncertainError].
var (
	// ErrNotActive: this member is not the active; errors.As a *[NotActiveError] for where to go.
	ErrNotActive = errors.New("this member is not active")
	// ErrBusy: a bounded queue is full; nothing happened, retry after the time in *[BusyError].
	ErrBusy = errors.New("the group is busy")
	// ErrUncertain: the event may or may not be in the history. Resend it with
	// the same producer and sequence: it will not be applied twice.
	ErrUncertain = errors.New("the outcome is uncertain")
	// ErrGap: the producer left out a number; errors.As a *[GapError] for the one expected.
	ErrGap = errors.New("producer sequence gap")
	// ErrTooLarge: the event is over the group's limit and was not looked at.
	ErrTooLarge = errors.New("event too large")
	// ErrBadEvent: the event can never be accepted in this form (producer name, number).
	ErrBadEvent = errors.New("malformed event")
	// ErrSessionExpired: the producer is unknown to the group and did not begin at 1.
	// The outcome of its unacknowledged events is unknown; begin again under a new name.
	ErrSessionExpired = errors.New("producer session is unknown or expired")
	// ErrOldDuplicate: the event was applied before, but so long ago that its receipt is gone.
	ErrOldDuplicate = errors.New("event was applied before and its receipt is no longer kept")
	// ErrNumberTaken: the producer's number belongs to another event, so this one
	// did not happen: two senders use the name, or one lost count.
	ErrNumberTaken = errors.New("the producer's number was used for another event")
	// ErrClosed: the group handle is closed.
	ErrClosed = errors.New("the handle on the group was closed")
	// ErrPruned: the outputs asked for are no longer kept; errors.As a *[PrunedError].
	ErrPruned = errors.New("outputs are no longer kept")
	// ErrRefused: a precondition of an operation failed and nothing changed; the text says which.
	ErrRefused = errors.New("refused")
)

// NotActiveError says which member to ask instead. Active is empty when none is known.
type NotActiveError struct{ Active string }

func (e *NotActiveError) Error() string {
	if e.Active == "" {
		return "this member is not active and no active is known: retry shortly"
	}
	return fmt.Sprintf("this member is not active: ask %q", e.Active)
}

// Is makes errors.Is(err, ErrNotActive) true.
func (e *NotActiveError) Is(target error) bool { return target == ErrNotActive }

// BusyError says how long to wait before the next try.
type BusyError struct {
	RetryAfter time.Duration
	Reason     string
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("the group is busy (%s): retry after %v", e.Reason, e.RetryAfter)
}

// Is makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// UncertainError says why nobody can tell yet whether the event happened.
type UncertainError struct {
	Reason string
	Remedy string // empty: resend with the same producer and sequence
}

func (e *UncertainError) Error() string {
	remedy := e.Remedy
	if remedy == "" {
		remedy = "resend with the same producer and sequence"
	}
	return fmt.Sprintf("outcome uncertain (%s): %s", e.Reason, remedy)
}

// Is makes errors.Is(err, ErrUncertain) true.
func (e *UncertainError) Is(target error) bool { return target == ErrUncertain }

// GapError says which number the group expects next from the producer.
type GapError struct{ Expected uint64 }

func (e *GapError) Error() string {
	return fmt.Sprintf("producer sequence gap: the next number is %d", e.Expected)
}

// Is makes errors.Is(err, ErrGap) true.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// PrunedError says which output is the oldest that is still kept.
type PrunedError struct{ Oldest uint64 }

func (e *PrunedError) Error() string {
	return fmt.Sprintf("outputs are no longer kept: the oldest is %d", e.Oldest)
}

// Is makes errors.Is(err, ErrPruned) true.
func (e *PrunedError) Is(target error) bool { return target == ErrPruned }

// RefusedError says which precondition failed. Nothing changed.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// Is makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }
