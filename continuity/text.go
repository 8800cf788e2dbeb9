package continuity

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/understudy-ha/understudy/chain"
)

// parseNumber reads a decimal number in its one right form.
func parseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%.30q is no number", s)
	}
	return n, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decode reads base64 in its one right form.
func decode(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || encode(b) != s {
		return nil, fmt.Errorf("%.30q is not base64", s)
	}
	return b, nil
}

func parseHash(s string) (chain.Hash, error) {
	b, err := decode(s)
	if err != nil || len(b) != 32 {
		return chain.Hash{}, fmt.Errorf("%.60q is no hash", s)
	}
	return chain.Hash(b), nil
}

// maxHashes bounds the hashes of one section: a tree has at most 63 levels.
const maxHashes = 63

// lines takes a text apart, line by line.
type lines struct {
	rest string
	err  error
}

func (l *lines) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// peek is the next line, without its end; empty if there is none.
func (l *lines) peek() string {
	s, _, _ := strings.Cut(l.rest, "\n")
	return s
}

func (l *lines) next() string {
	s, rest, ok := strings.Cut(l.rest, "\n")
	if !ok {
		l.fail("it ends too early")
		return ""
	}
	l.rest = rest
	return s
}

// field reads a line "key value".
func (l *lines) field(key string) string {
	s := l.next()
	v, ok := strings.CutPrefix(s, key+" ")
	if !ok {
		l.fail("%.40q where %q belongs", s, key)
	}
	return v
}

// link reads a line "key seq link".
func (l *lines) link(key string) chain.Link {
	num, enc, _ := strings.Cut(l.field(key), " ")
	if l.err != nil {
		return chain.Link{}
	}
	b, err := decode(enc)
	if err != nil {
		l.fail("%s: %w", key, err)
		return chain.Link{}
	}
	k, err := chain.ParseLink(b)
	if err != nil {
		l.fail("%s: %w", key, err)
	} else if n, err := parseNumber(num); err != nil || n != k.Seq {
		l.fail("%s: link of seq %d under %.20q", key, k.Seq, num)
	}
	return k
}

// hashes reads the lines up to the next one that is no hash.
func (l *lines) hashes() []chain.Hash {
	var out []chain.Hash
	for l.err == nil && len(l.peek()) == 44 && !strings.Contains(l.peek(), " ") {
		h, err := parseHash(l.next())
		if err != nil {
			l.fail("%w", err)
		}
		if out = append(out, h); len(out) > maxHashes {
			l.fail("more than %d hashes", maxHashes)
		}
	}
	return out
}
