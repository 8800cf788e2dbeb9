package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// Every exit code that the command documents, by what leads to it.
func TestExitCodes(t *testing.T) {
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		code int
	}{
		{t.Context(), nil, 0},
		{t.Context(), errors.New("x"), 1},
		{t.Context(), remote(errors.New("x")), 2},
		{t.Context(), remote(&standby.NotActiveError{}), 2},
		{t.Context(), remote(&standby.RefusedError{Reason: "x"}), 3},
		{t.Context(), remote(&standby.GapError{Expected: 2}), 3},
		{t.Context(), partError{&standby.RefusedError{Reason: "x"}, 1, 1}, 5},
		{t.Context(), fmt.Errorf("x: %w", &standby.UncertainError{Reason: "x"}), 4},
		{stopped, remote(&standby.UncertainError{Reason: "x"}), 4},
		{t.Context(), fmt.Errorf("x: %w", continuity.ErrUnverifiable), 6},
		{t.Context(), remote(&wire.Problem{Code: wire.Unauthorized}), 7},
		{t.Context(), silent(8), 8},
		{t.Context(), fmt.Errorf("x: %w", silent(10)), 10},
		{stopped, remote(context.Canceled), 130},
	} {
		require.Equal(t, c.code, exitCode(c.ctx, c.err), "%v", c.err)
	}
}
