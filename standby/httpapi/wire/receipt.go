package wire

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/understudy-ha/understudy/standby"
)

// appendReceipt appends what encoding/json makes of a receipt, at a tenth of
// its cost: there is one for every event.
func appendReceipt(dst []byte, r *standby.Receipt) []byte {
	number := func(name string, v uint64) { dst = strconv.AppendUint(append(dst, name...), v, 10) }
	yes := func(name string, v bool) {
		if v {
			dst = append(append(dst, name...), "true"...)
		}
	}
	dst = append(dst, '{')
	if r.Producer != "" {
		dst = append(appendText(append(dst, `"producer":`...), r.Producer), ',')
	}
	if r.Sequence != 0 {
		number(`"sequence":`, r.Sequence)
		dst = append(dst, ',')
	}
	number(`"seq":`, r.Seq)
	number(`,"term":`, r.Term)
	dst = append(hex.AppendEncode(append(dst, `,"link":"`...), r.Link[:]), '"')
	if r.FirstOutput != 0 {
		number(`,"first_output":`, r.FirstOutput)
	}
	number(`,"outputs":`, r.Outputs)
	if len(r.OutputData) > 0 {
		dst = append(dst, `,"output_data":[`...)
		for i, o := range r.OutputData {
			if i > 0 {
				dst = append(dst, ',')
			}
			if o == nil {
				dst = append(dst, "null"...)
				continue
			}
			dst = append(base64.StdEncoding.AppendEncode(append(dst, '"'), o), '"')
		}
		dst = append(dst, ']')
	}
	yes(`,"rejected":`, r.Rejected)
	yes(`,"refused":`, r.Refused)
	if r.Reason != "" {
		dst = appendText(append(dst, `,"reason":`...), r.Reason)
	}
	yes(`,"duplicate":`, r.Duplicate)
	return append(dst, '}')
}

// appendText appends a string as encoding/json writes it.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, _ := json.Marshal(s)
			return append(dst, b...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// errForeign: the line is not in the form that appendReceipt writes.
var errForeign = errors.New("not a receipt in our own form")

// parseReceipt reads what appendReceipt writes. Anything else, though it may be
// a receipt all the same, is left to encoding/json.
func parseReceipt(line []byte) (r standby.Receipt, err error) {
	s := scanner{b: line}
	err = s.object(func(name []byte) (err error) {
		var b []byte
		switch string(name) {
		case "producer":
			b, err = s.peek()
			r.Producer = string(b)
		case "sequence":
			r.Sequence, err = s.number()
		case "seq":
			r.Seq, err = s.number()
		case "term":
			r.Term, err = s.number()
		case "link":
			if b, err = s.peek(); err == nil {
				err = r.Link.UnmarshalText(b)
			}
		case "first_output":
			r.FirstOutput, err = s.number()
		case "outputs":
			r.Outputs, err = s.number()
		case "output_data":
			r.OutputData, err = s.blobs()
		case "rejected":
			r.Rejected, err = true, s.yes()
		case "refused":
			r.Refused, err = true, s.yes()
		case "reason":
			b, err = s.peek()
			r.Reason = string(b)
		case "duplicate":
			r.Duplicate, err = true, s.yes()
		default:
			err = errForeign
		}
		return err
	})
	return r, err
}

// yes reads the word true.
func (s *scanner) yes() error {
	if s.space(); len(s.b)-s.i < 4 || string(s.b[s.i:s.i+4]) != "true" {
		return errForeign
	}
	s.i += 4
	return nil
}

// blobs reads a list of base64 strings that is not empty.
func (s *scanner) blobs() ([][]byte, error) {
	if !s.take('[') {
		return nil, errForeign
	}
	out := make([][]byte, 0, 1)
	for {
		b, err := s.peek()
		if err == nil {
			b, err = unbase64(b)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		if s.take(']') {
			return out, nil
		}
		if !s.take(',') {
			return nil, errForeign
		}
	}
}
