package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// remoteError came from a member, or from there being none.
type remoteError struct{ error }

func (e remoteError) Unwrap() error { return e.error }

func remote(err error) error {
	if err == nil {
		return nil
	}
	return remoteError{err}
}

// silent ends the program with a code; all that is to say was said.
type silent int

func (silent) Error() string { return "" }

// rejectedError: everything is recorded, but the daemon did not take all of it.
type rejectedError struct {
	events uint64
	reason string // the first one's
}

func (e rejectedError) Error() string {
	if e.events == 1 {
		return "recorded as rejected by the daemon: " + e.reason
	}
	return fmt.Sprintf("%d events are recorded as rejected by the daemon, the first one: %s", e.events, e.reason)
}

// partError: some events were refused, others are recorded.
type partError struct {
	error
	recorded, failed uint64
}

func (e partError) Unwrap() error { return e.error }

func (e partError) Error() string {
	return fmt.Sprintf("%d events are recorded, %d are not, the first one: %v", e.recorded, e.failed, e.error)
}

const interrupted = 130

func exitCode(ctx context.Context, err error) int {
	var code silent
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, new(rejectedError)), errors.As(err, new(partError)):
		return 5
	case errors.Is(err, standby.ErrUncertain):
		return 4
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return interrupted
	case errors.Is(err, continuity.ErrUnverifiable):
		return 6
	case errors.Is(err, wire.ErrUnauthorized):
		return 7
	case refused(err):
		return 3
	case errors.As(err, new(remoteError)):
		return 2
	}
	return 1
}

// refused errors are a member's clear no.
func refused(err error) bool {
	for _, e := range []error{standby.ErrRefused, standby.ErrTooLarge, standby.ErrBadEvent, standby.ErrGap,
		standby.ErrSessionExpired, standby.ErrOldDuplicate, standby.ErrNumberTaken, standby.ErrPruned} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
