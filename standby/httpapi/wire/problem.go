package wire

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/understudy-ha/understudy/standby"
)

// Code is the machine-readable kind of a [Problem].
type Code string

// The codes. All but Uncertain and Internal mean that nothing happened.
const (
	BadRequest     Code = "bad_request"
	Unauthorized   Code = "unauthorized"
	NotFound       Code = "not_found"
	BadMethod      Code = "method_not_allowed"
	TooSlow        Code = "too_slow" // the body did not come in time
	Gap            Code = "gap"
	OldDuplicate   Code = "old_duplicate" // the event was applied, its receipt is gone
	NumberTaken    Code = "number_taken"  // another event has the producer's number
	Refused        Code = "refused"
	SessionExpired Code = "session_expired"
	Pruned         Code = "pruned"
	TooLarge       Code = "too_large"
	Busy           Code = "busy"
	NotActive      Code = "not_active"
	Closed         Code = "closed"
	Uncertain      Code = "uncertain"
	Internal       Code = "internal"
)

var statuses = map[Code]int{
	BadRequest: http.StatusBadRequest, Unauthorized: http.StatusUnauthorized, NotFound: http.StatusNotFound,
	BadMethod: http.StatusMethodNotAllowed, TooSlow: http.StatusRequestTimeout,
	Gap: http.StatusConflict, OldDuplicate: http.StatusConflict, NumberTaken: http.StatusConflict, Refused: http.StatusConflict,
	SessionExpired: http.StatusGone, Pruned: http.StatusGone, TooLarge: http.StatusRequestEntityTooLarge,
	Busy: http.StatusTooManyRequests, NotActive: http.StatusServiceUnavailable, Closed: http.StatusServiceUnavailable,
	Uncertain: http.StatusGatewayTimeout, Internal: http.StatusInternalServerError,
}

// ErrUnauthorized is what an unauthorized [Problem] unwraps to.
var ErrUnauthorized = errors.New("not allowed")

// Problem is the body of every answer that is not a success, and the line of
// an event that got no receipt. It is an error; errors.Is and errors.As find
// package standby's typed errors in it.
type Problem struct {
	Text         string `json:"error"`
	Code         Code   `json:"code"`
	Expected     uint64 `json:"expected,omitempty"`       // gap: the number the group expects next
	Active       string `json:"active,omitempty"`         // not_active: whom to ask
	Oldest       uint64 `json:"oldest,omitempty"`         // pruned: the oldest output kept
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"` // busy, not_active
	Remedy       string `json:"remedy,omitempty"`
	Forbidden    bool   `json:"forbidden,omitempty"` // unauthorized: known, but without the role
}

func (p *Problem) Error() string { return p.Text }

// Status is the HTTP status that goes with the code.
func (p *Problem) Status() int {
	if p.Code == Unauthorized && p.Forbidden {
		return http.StatusForbidden
	}
	if s, ok := statuses[p.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Known says whether the code is one of this version's.
func (c Code) Known() bool { _, ok := statuses[c]; return ok }

// Open says that the code leaves open whether something happened. So does one
// of a later version.
func (c Code) Open() bool { return c == Uncertain || c == Internal || !c.Known() }

// Unwrap gives package standby's error for the code, or nil.
func (p *Problem) Unwrap() error {
	switch p.Code {
	case BadRequest:
		return standby.ErrBadEvent
	case Unauthorized:
		return ErrUnauthorized
	case Gap:
		return &standby.GapError{Expected: p.Expected}
	case OldDuplicate:
		return standby.ErrOldDuplicate
	case NumberTaken:
		return standby.ErrNumberTaken
	case Refused:
		return &standby.RefusedError{Reason: p.Text}
	case SessionExpired:
		return standby.ErrSessionExpired
	case Pruned:
		return &standby.PrunedError{Oldest: p.Oldest}
	case TooLarge:
		return standby.ErrTooLarge
	case Busy:
		return &standby.BusyError{RetryAfter: time.Duration(p.RetryAfterMS) * time.Millisecond, Reason: p.Text}
	case NotActive:
		return &standby.NotActiveError{Active: p.Active}
	case Closed:
		return standby.ErrClosed
	case Uncertain:
		return &standby.UncertainError{Reason: p.Text, Remedy: p.Remedy}
	}
	return nil
}

// Problemf makes a problem with a remedy.
func Problemf(code Code, remedy, format string, args ...any) *Problem {
	return &Problem{Code: code, Text: fmt.Sprintf(format, args...), Remedy: remedy}
}

// ProblemOf says in the API's words what an error means.
func ProblemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	p = &Problem{Text: err.Error(), Code: Internal, Remedy: "see this member's log"}
	var (
		inactive *standby.NotActiveError
		busy     *standby.BusyError
		unsure   *standby.UncertainError
		gap      *standby.GapError
		pruned   *standby.PrunedError
		refused  *standby.RefusedError
		large    *http.MaxBytesError
	)
	switch {
	case errors.As(err, &unsure):
		p.Code, p.Remedy = Uncertain, unsure.Remedy
		if p.Remedy == "" {
			p.Remedy = "resend with the same producer and sequence; without a producer look for the effect"
		}
	case errors.Is(err, standby.ErrUncertain):
		p.Code, p.Remedy = Uncertain, "resend with the same producer and sequence"
	case errors.As(err, &inactive):
		p.Code, p.Active, p.RetryAfterMS, p.Remedy = NotActive, inactive.Active, 100, "retry; every member forwards to the active once there is one"
	case errors.As(err, &busy):
		p.Code, p.RetryAfterMS, p.Remedy = Busy, max(1, busy.RetryAfter.Milliseconds()), "retry after retry_after_ms with as many events or fewer"
	case errors.As(err, &gap):
		p.Code, p.Expected, p.Remedy = Gap, gap.Expected, "send the event with the expected number first"
	case errors.As(err, &pruned):
		p.Code, p.Oldest, p.Remedy = Pruned, pruned.Oldest, "begin at the oldest output that is kept"
	case errors.As(err, &refused):
		p.Code, p.Text, p.Remedy = Refused, refused.Reason, ""
	case errors.As(err, &large):
		p.Code, p.Remedy = TooLarge, fmt.Sprintf("send at most %d bytes", large.Limit)
	case errors.Is(err, standby.ErrTooLarge):
		p.Code, p.Remedy = TooLarge, "split the event"
	case errors.Is(err, standby.ErrBadEvent), errors.Is(err, ErrEvent):
		p.Code, p.Remedy = BadRequest, "correct the event"
	case errors.Is(err, standby.ErrSessionExpired):
		p.Code, p.Remedy = SessionExpired, "begin again at 1 under a new producer name"
	case errors.Is(err, standby.ErrOldDuplicate):
		p.Code, p.Remedy = OldDuplicate, "go on with the next number: this event was applied"
	case errors.Is(err, standby.ErrNumberTaken):
		p.Code, p.Remedy = NumberTaken, "ask for the session and go on after its last number; use each producer name in one place"
	case errors.Is(err, standby.ErrClosed):
		p.Code, p.Remedy = Closed, "ask another member"
	}
	return p
}
