package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/internal/drill"
	"github.com/understudy-ha/understudy/standby"
)

// A file that cannot be written does not take the report of a long drill with it.
func TestReportIsPrintedBeforeItIsSaved(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "no", "such", "r.json")
	for _, d := range []*rehearsal{{reports: []string{nowhere}}, {state: nowhere}} {
		var out strings.Builder
		c := new(cobra.Command)
		c.SetOut(&out)
		require.Error(t, d.end(c, "table", &drill.Report{State: []byte("x")}))
		require.Contains(t, out.String(), "unavailable p50")
	}
}

// Several drills have no one state at the end.
func TestStateIsThatOfOneDrill(t *testing.T) {
	d := &rehearsal{o: &options{output: "table"}, state: "x", events: 200}
	d.cfg.Rounds, d.cfg.Daemon = 1, "kv"
	require.ErrorContains(t, d.run(new(cobra.Command), []drill.Fault{drill.Kill, drill.Pause}), "--state")
}

// Wrong usage is that with a group in use, too, and no fault of the group.
func TestWrongUsageOfALiveDrill(t *testing.T) {
	for _, wrong := range []func(*rehearsal){
		func(d *rehearsal) { d.cfg.Rounds = 0 }, func(d *rehearsal) { d.cfg.Rate = -1 }, func(d *rehearsal) { d.cfg.MaxUnavailable = -1 },
	} {
		d := &rehearsal{o: &options{output: "table"}, group: []string{"127.0.0.1:1"}}
		d.cfg.Rounds = 1
		wrong(d)
		c := new(cobra.Command)
		c.SetContext(t.Context())
		require.Equal(t, 1, exitCode(t.Context(), d.runLive(c, []drill.Fault{drill.Switchover})))
	}
}

// What a drill's own group answered is not what the exit codes say of a group
// in use: a drill that could not go on ends with 1, and an interrupted one is that.
func TestDrillThatCannotGoOn(t *testing.T) {
	for _, err := range []error{
		&standby.UncertainError{Reason: "x"}, &standby.RefusedError{Reason: "x"}, continuity.ErrUnverifiable, context.Canceled,
	} {
		err = stuck(t.Context(), drill.Kill, fmt.Errorf("round 1: %w", err))
		require.Equal(t, 1, exitCode(t.Context(), err), "%v", err)
		require.ErrorContains(t, err, "kill: round 1: ")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, interrupted, exitCode(ctx, stuck(ctx, drill.Kill, fmt.Errorf("round 1: %w", &standby.UncertainError{Reason: "x"}))))
}
