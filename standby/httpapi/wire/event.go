package wire

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/standby"
)

// ErrEvent is in every error of [ParseEvent].
var ErrEvent = errors.New("malformed event")

// MaxEventLine is how long the line of an event with a payload of the given
// size can be, in bytes: text takes up to six bytes for one.
func MaxEventLine(payload int) int { return 6*payload + 1024 }

// ParseEvent reads an event from its JSON object. Names other than the four,
// names given twice or in another case, text that is not UTF-8 and anything
// after the object are errors. The event shares no memory with the line.
func ParseEvent(line []byte) (standby.Event, error) {
	ev, err := parseEvent(line)
	if err != nil {
		return standby.Event{}, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return ev, nil
}

func parseEvent(line []byte) (ev standby.Event, err error) {
	s := scanner{b: line}
	var seen [4]bool
	once := func(i int) error {
		if seen[i] {
			return errors.New("given twice")
		}
		seen[i] = true
		return nil
	}
	err = s.object(func(name []byte) error {
		var err error
		var b []byte
		switch string(name) {
		case "producer":
			if err = once(0); err == nil {
				b, err = s.peek()
				ev.Producer = string(b)
			}
		case "sequence":
			if err = once(1); err == nil {
				ev.Sequence, err = s.number()
			}
		case "payload":
			if err = once(2); err == nil {
				ev.Payload, err = s.text()
			}
		case "payload_base64":
			if err = once(3); err == nil {
				b, err = s.peek()
			}
			if err == nil {
				ev.Payload, err = unbase64(b)
			}
		default:
			return fmt.Errorf("unknown name %.40q: an event has producer, sequence and payload or payload_base64", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return ev, err
	case seen[2] == seen[3]:
		return ev, errors.New("give either payload or payload_base64")
	}
	return ev, nil
}

// unbase64 decodes standard base64. The decoder of the library skips line
// breaks; here they are an error like any other foreign byte.
func unbase64(b []byte) ([]byte, error) {
	if bytes.IndexByte(b, '\r') >= 0 || bytes.IndexByte(b, '\n') >= 0 {
		return nil, errors.New("line break within base64")
	}
	out := make([]byte, strict.DecodedLen(len(b)))
	n, err := strict.Decode(out, b)
	return out[:n], err
}

var strict = base64.StdEncoding.Strict()

// AppendEvent appends an event's line, newline included.
func AppendEvent(dst []byte, ev *standby.Event) []byte {
	dst = append(dst, '{')
	if ev.Producer != "" {
		dst = appendText(append(dst, `"producer":`...), ev.Producer)
		dst = strconv.AppendUint(append(dst, `,"sequence":`...), ev.Sequence, 10)
		dst = append(dst, ',')
	} else if ev.Sequence != 0 {
		dst = strconv.AppendUint(append(dst, `"sequence":`...), ev.Sequence, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"payload_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, ev.Payload)
	return append(dst, '"', '}', '\n')
}

// scanner reads the one shape of JSON that an event has.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\r' || s.b[s.i] == '\n') {
		s.i++
	}
}

// take skips space and consumes c if it is next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// object reads {"name": value, …} to the end of the input; value is called at each value.
func (s *scanner) object(value func(name []byte) error) error {
	if !s.take('{') {
		return errors.New("a JSON object is expected")
	}
	for more := !s.take('}'); more; {
		name, err := s.peek()
		if err != nil {
			return fmt.Errorf("name: %w", err)
		}
		if !s.take(':') {
			return fmt.Errorf("a colon is expected at byte %d", s.i)
		}
		if err := value(name); err != nil {
			return err
		}
		if more = s.take(','); !more && !s.take('}') {
			return fmt.Errorf("a comma or the object's end is expected at byte %d", s.i)
		}
	}
	if s.space(); s.i != len(s.b) {
		return fmt.Errorf("%d bytes follow the object", len(s.b)-s.i)
	}
	return nil
}

func (s *scanner) number() (uint64, error) {
	s.space()
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	digits := s.b[from:s.i]
	if len(digits) == 0 || len(digits) > 1 && digits[0] == '0' {
		return 0, errors.New("a whole number is expected")
	}
	return strconv.ParseUint(string(digits), 10, 64)
}

// text reads a string. The result is a copy.
func (s *scanner) text() ([]byte, error) {
	b, err := s.peek()
	if err != nil {
		return nil, err
	}
	return append([]byte{}, b...), nil
}

// peek reads a string. The result may be a part of the input.
func (s *scanner) peek() ([]byte, error) {
	if !s.take('"') {
		return nil, fmt.Errorf("a string is expected at byte %d", s.i)
	}
	from, escaped := s.i, false
	for ; s.i < len(s.b) && s.b[s.i] != '"'; s.i++ {
		switch c := s.b[s.i]; {
		case c < ' ':
			return nil, fmt.Errorf("control character %#02x in a string: escape it", c)
		case c == '\\':
			escaped = true
			s.i++
		}
	}
	if s.i >= len(s.b) {
		return nil, errors.New("the string does not end")
	}
	raw := s.b[from:s.i]
	s.i++
	if !utf8.Valid(raw) {
		return nil, errors.New("the string is not UTF-8: send such bytes as payload_base64")
	}
	if !escaped {
		return raw, nil
	}
	return unescape(raw)
}

// unescape resolves a string's escapes. Half of a surrogate pair is an error:
// it stands for no character.
func unescape(raw []byte) ([]byte, error) {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(out, raw...), nil
		}
		out = append(out, raw[:i]...)
		c := raw[i+1] // text saw to it that a backslash is not the last
		raw = raw[i+2:]
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b', 'f', 'n', 'r', 't':
			out = append(out, "\b\f\n\r\t"[bytes.IndexByte([]byte("bfnrt"), c)])
		case 'u':
			r, rest, err := codePoint(raw)
			if err != nil {
				return nil, err
			}
			out, raw = utf8.AppendRune(out, r), rest
		default:
			return nil, fmt.Errorf("unknown escape \\%c", c)
		}
	}
	return out, nil
}

// codePoint reads the digits of a \u escape and, for a surrogate, its other half.
func codePoint(raw []byte) (rune, []byte, error) {
	r, err := hex4(raw)
	if err != nil {
		return 0, nil, err
	}
	raw = raw[4:]
	if r < 0xd800 || r > 0xdfff {
		return r, raw, nil
	}
	if r < 0xdc00 && len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
		if low, err := hex4(raw[2:]); err == nil && low >= 0xdc00 && low <= 0xdfff {
			return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), raw[6:], nil
		}
	}
	return 0, nil, fmt.Errorf("\\u%04x is half of a surrogate pair", r)
}

func hex4(raw []byte) (rune, error) {
	if len(raw) < 4 {
		return 0, errors.New("\\u takes four hexadecimal digits")
	}
	var r rune
	for _, c := range raw[:4] {
		d := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
		if c >= '0' && c <= '9' {
			d = int(c - '0')
		} else if d < 10 {
			return 0, errors.New("\\u takes four hexadecimal digits")
		}
		r = r<<4 | rune(d)
	}
	return r, nil
}
