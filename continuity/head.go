package continuity

import (
	"fmt"
	"strings"

	"github.com/understudy-ha/understudy/chain"
)

const headHeader = "understudy/head@v1"

// FormatHead is the one line in which people keep a head.
func FormatHead(group string, o chain.Origin, h chain.Head) []byte {
	return fmt.Appendf(nil, "%s %s %d %s\n", headHeader, originLine(group, o), h.Size(), h.Hash)
}

// ParseHead reads what FormatHead wrote, for a group.
func ParseHead(b []byte, f *chain.Founding) (Held, error) {
	if len(b) > 512 {
		return Held{}, fmt.Errorf("%w: a head of %d bytes", ErrUnverifiable, len(b))
	}
	parts := strings.Split(strings.TrimSuffix(string(b), "\n"), " ")
	if len(parts) != 4 || parts[0] != headHeader {
		return Held{}, fmt.Errorf("%w: no head line: %q GROUP SIZE HASH is one", ErrUnverifiable, headHeader)
	}
	if want := originLine(f.Group, f.Origin()); parts[1] != want {
		return Held{}, fmt.Errorf("%w: a head of %.80q, the pinned group is %q", ErrUnverifiable, parts[1], want)
	}
	n, err := parseNumber(parts[2])
	if err != nil || n == 0 {
		return Held{}, fmt.Errorf("%w: a head of size %.30q", ErrUnverifiable, parts[2])
	}
	h, err := chain.ParseHash(parts[3])
	if err != nil {
		return Held{}, fmt.Errorf("%w: %w", ErrUnverifiable, err)
	}
	return Held{Size: n, Hash: h}, nil
}
