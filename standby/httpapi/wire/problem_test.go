package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/standby"
)

// An error of the group is the same error on the other side of the wire, alone
// and within others.
func TestProblemsKeepTheirMeaning(t *testing.T) {
	for _, err := range []error{
		&standby.NotActiveError{Active: "b"}, &standby.BusyError{RetryAfter: time.Second, Reason: "x"}, &standby.UncertainError{Reason: "x", Remedy: "y"},
		&standby.GapError{Expected: 7}, &standby.PrunedError{Oldest: 9}, &standby.RefusedError{Reason: "x"}, standby.ErrTooLarge, standby.ErrBadEvent,
		standby.ErrSessionExpired, standby.ErrOldDuplicate, standby.ErrNumberTaken, standby.ErrClosed, standby.ErrUncertain,
	} {
		for _, err := range []error{err, fmt.Errorf("of event 5: %w", err)} {
			line := AppendResult(nil, &standby.Result{Err: err})
			require.True(t, bytes.HasSuffix(line, []byte("\n")))
			r, perr := ParseResult(line)
			require.NoError(t, perr)
			for _, target := range []error{standby.ErrNotActive, standby.ErrBusy, standby.ErrUncertain, standby.ErrGap, standby.ErrPruned, standby.ErrRefused, standby.ErrTooLarge,
				standby.ErrBadEvent, standby.ErrSessionExpired, standby.ErrOldDuplicate, standby.ErrNumberTaken, standby.ErrClosed} {
				require.Equal(t, errors.Is(err, target), errors.Is(r.Err, target), "%v: %v", err, target)
			}
			require.NotEmpty(t, ProblemOf(r.Err).Code)
		}
	}
	var gap *standby.GapError
	r, err := ParseResult(AppendResult(nil, &standby.Result{Err: &standby.GapError{Expected: 7}}))
	require.NoError(t, err)
	require.ErrorAs(t, r.Err, &gap)
	require.EqualValues(t, 7, gap.Expected)
	require.Equal(t, Internal, ProblemOf(errors.New("disk")).Code)
	require.Equal(t, TooLarge, ProblemOf(fmt.Errorf("x: %w", &http.MaxBytesError{Limit: 5})).Code)
}

func TestResults(t *testing.T) {
	want := standby.Result{Receipt: standby.Receipt{Producer: "p", Sequence: 1, Seq: 2, Term: 3, Link: [32]byte{4}, Outputs: 1, FirstOutput: 5, OutputData: [][]byte{{6}}, Duplicate: true}}
	got, err := ParseResult(AppendResult(nil, &want))
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, bad := range []string{``, `x`, `{}`, `{"seq":1}`, `{"error":"x"}`, `[]`, `{"seq":-1}`} {
		_, err := ParseResult([]byte(bad))
		require.Error(t, err, bad)
	}
}

// The contract names every code with its status.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/api.md")
	require.NoError(t, err)
	for code, status := range statuses {
		require.Regexp(t, fmt.Sprintf("(?m)^\\| `%s` \\| [^|]*%d", code, status), string(doc))
		p := Problem{Code: code}
		require.Equal(t, status, p.Status())
	}
	require.Equal(t, http.StatusForbidden, (&Problem{Code: Unauthorized, Forbidden: true}).Status())
	require.Equal(t, http.StatusInternalServerError, (&Problem{Code: "unheard of"}).Status())
	var p Problem
	require.NoError(t, json.Unmarshal([]byte(`{"error":"x","code":"busy","retry_after_ms":5,"more":1}`), &p), "fields that come later")
}
