package wire

import (
	"encoding/json"
	"fmt"

	"github.com/understudy-ha/understudy/standby"
)

// AppendResult appends the line of an event's outcome, newline included.
func AppendResult(dst []byte, r *standby.Result) []byte {
	if r.Err == nil {
		return append(appendReceipt(dst, &r.Receipt), '\n')
	}
	b, err := json.Marshal(ProblemOf(r.Err))
	if err != nil { // no field can fail
		b = []byte(`{"error":"the outcome cannot be encoded","code":"internal"}`)
	}
	return append(append(dst, b...), '\n')
}

// ParseResult reads the line of an event's outcome. The error is about the
// line; the event's own is in the result, a *[Problem].
func ParseResult(line []byte) (standby.Result, error) {
	if r, err := parseReceipt(line); err == nil && !r.Link.IsZero() {
		return standby.Result{Receipt: r}, nil
	}
	var v struct {
		standby.Receipt
		Problem
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return standby.Result{}, fmt.Errorf("the outcome of an event does not parse: %w", err)
	}
	if v.Problem.Code != "" {
		return standby.Result{Err: &v.Problem}, nil
	}
	if v.Receipt.Link.IsZero() {
		return standby.Result{}, fmt.Errorf("neither a receipt nor a problem: %.100q", line)
	}
	return standby.Result{Receipt: v.Receipt}, nil
}
