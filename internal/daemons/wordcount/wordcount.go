// Package wordcount is a built-in daemon: it counts lines, words and bytes of
// any text, as wc does, and how often each word occurs.
//
// An event is one line, without its end. The output of an event is the totals
// so far, "lines words bytes", where bytes counts one for each line end: the
// last output of a file's lines is what wc says of the file in a UTF-8 locale.
// There, words are what lies between white space of any script, and have at
// least one printable character. The counts of the single words are bytewise,
// as in tr -s '[:space:]' '\n' | sort | uniq -c: what lies between ASCII white
// space.
//
// Queries: "totals", "top N" (the most frequent words with their counts),
// "count WORD", "words" (all, in byte order, as sort and uniq -c list them).
package wordcount

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// Name is the daemon's name.
const Name = "wordcount"

// Limits.
const (
	MaxWords  = 2_000_000 // distinct words
	maxTop    = 10_000    // words in the answer to top
	maxAnswer = 32 << 20  // bytes in the answer to words
)

// Daemon counts. Make one with New.
type Daemon struct {
	lines, words, bytes uint64
	counts              map[string]*uint64
}

// New makes one that has seen nothing.
func New() *Daemon { return &Daemon{counts: make(map[string]*uint64)} }

// Name implements host.Daemon.
func (d *Daemon) Name() string { return Name }

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// wordsOf counts a line's words as wc does.
func wordsOf(line []byte) (n uint64) {
	in := false
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		line = line[size:]
		switch {
		case r == utf8.RuneError && size == 1: // no character: neither ends a word nor makes one
		case unicode.IsSpace(r) && r != 0x85 || r == 0x2060:
			in = false
		case !in && (unicode.IsGraphic(r) || unicode.In(r, unicode.Cf, unicode.Co)):
			in = true
			n++
		}
	}
	return n
}

// nextWord cuts the first word off a line; it is empty at the end.
func nextWord(line []byte) (word, rest []byte) {
	from := 0
	for from < len(line) && space(line[from]) {
		from++
	}
	to := from
	for to < len(line) && !space(line[to]) {
		to++
	}
	return line[from:to], line[to:]
}

// Process implements host.Daemon.
func (d *Daemon) Process(ev chain.Event) ([][]byte, error) {
	if bytes.IndexByte(ev.Payload, '\n') >= 0 {
		return nil, errors.New("an event is one line: send it without line ends")
	}
	if len(d.counts) >= MaxWords {
		for word, rest := nextWord(ev.Payload); len(word) > 0; word, rest = nextWord(rest) {
			if d.counts[string(word)] == nil {
				return nil, fmt.Errorf("%d different words are as many as are counted, and %.40q is a new one", len(d.counts), word)
			}
		}
	}
	d.lines++
	d.words += wordsOf(ev.Payload)
	d.bytes += uint64(len(ev.Payload)) + 1
	for word, rest := nextWord(ev.Payload); len(word) > 0; word, rest = nextWord(rest) {
		if n := d.counts[string(word)]; n != nil {
			*n++
			continue
		}
		one := uint64(1)
		d.counts[string(word)] = &one
	}
	return [][]byte{d.totals()}, nil
}

func (d *Daemon) totals() []byte {
	b := strconv.AppendUint(make([]byte, 0, 32), d.lines, 10)
	b = strconv.AppendUint(append(b, ' '), d.words, 10)
	return strconv.AppendUint(append(b, ' '), d.bytes, 10)
}

// Query implements host.Queryable.
func (d *Daemon) Query(request []byte) ([]byte, error) {
	words := strings.Fields(string(request))
	switch {
	case len(words) == 1 && words[0] == "totals":
		return append(d.totals(), '\n'), nil
	case len(words) == 2 && words[0] == "count":
		var n uint64
		if c := d.counts[words[1]]; c != nil {
			n = *c
		}
		return fmt.Appendf(nil, "%d\n", n), nil
	case len(words) == 2 && words[0] == "top":
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || n > maxTop {
			return nil, fmt.Errorf("top takes a number from 1 to %d", maxTop)
		}
		all := slices.SortedFunc(maps.Keys(d.counts), func(a, b string) int {
			if x, y := *d.counts[a], *d.counts[b]; x != y {
				if x > y {
					return -1
				}
				return 1
			}
			return strings.Compare(a, b)
		})
		return d.list(all[:min(n, len(all))])
	case len(words) == 1 && words[0] == "words":
		return d.list(slices.Sorted(maps.Keys(d.counts)))
	}
	return nil, errors.New("ask: totals, top N, count WORD, or words")
}

func (d *Daemon) list(words []string) ([]byte, error) {
	var b []byte
	for _, w := range words {
		b = strconv.AppendUint(b, *d.counts[w], 10)
		b = append(append(append(b, ' '), w...), '\n')
		if len(b) > maxAnswer {
			return nil, fmt.Errorf("the words fill more than %d bytes: ask for the top ones", maxAnswer)
		}
	}
	return b, nil
}

// CanonicalSnapshot implements host.Canonical.
func (d *Daemon) CanonicalSnapshot() bool { return true }

// capture is a copy of the counts as they were.
type capture struct {
	head   [24]byte
	counts map[string]uint64
}

// Capture implements host.Streamer. It copies the counts, not the words.
func (d *Daemon) Capture() (host.Capture, error) {
	c := &capture{counts: make(map[string]uint64, len(d.counts))}
	for i, n := range []uint64{d.lines, d.words, d.bytes} {
		binary.BigEndian.PutUint64(c.head[8*i:], n)
	}
	for w, n := range d.counts {
		c.counts[w] = *n
	}
	return c, nil
}

// Release implements host.Capture.
func (c *capture) Release() {}

// WriteTo implements io.WriterTo: the totals (3 times 8 bytes), then every word
// in byte order with its length (4 bytes) before and its count (8 bytes) after
// it, all big-endian.
func (c *capture) WriteTo(w io.Writer) (int64, error) {
	b := bufio.NewWriterSize(w, 64<<10)
	b.Write(c.head[:])
	n := int64(len(c.head))
	for _, word := range slices.Sorted(maps.Keys(c.counts)) {
		b.Write(binary.BigEndian.AppendUint32(b.AvailableBuffer(), uint32(len(word))))
		b.WriteString(word)
		b.Write(binary.BigEndian.AppendUint64(b.AvailableBuffer(), c.counts[word]))
		n += int64(12 + len(word))
	}
	return n, b.Flush()
}

// maxWord bounds a word in a snapshot, in bytes: no event is longer.
const maxWord = 64 << 20

// RestoreFrom implements host.Streamer.
func (d *Daemon) RestoreFrom(r io.Reader) error {
	fresh, b := New(), bufio.NewReaderSize(r, 64<<10)
	var head [24]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		return fmt.Errorf("the snapshot is cut: %w", err)
	}
	for i, n := range []*uint64{&fresh.lines, &fresh.words, &fresh.bytes} {
		*n = binary.BigEndian.Uint64(head[8*i:])
	}
	for last := ""; ; {
		var size [4]byte
		if _, err := io.ReadFull(b, size[:]); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("the snapshot is cut: %w", err)
		}
		n := binary.BigEndian.Uint32(size[:])
		if n == 0 || n > maxWord || len(fresh.counts) >= MaxWords {
			return fmt.Errorf("the snapshot has a word of %d bytes, or more than %d words", n, MaxWords)
		}
		var buf bytes.Buffer // grows as the bytes come: the size may be a lie
		if _, err := io.CopyN(&buf, b, int64(n)+8); err != nil {
			return fmt.Errorf("the snapshot is cut: %w", err)
		}
		word, count := string(buf.Bytes()[:n]), binary.BigEndian.Uint64(buf.Bytes()[n:])
		if word <= last || count == 0 {
			return fmt.Errorf("the snapshot has the word %.40q out of order or never", word)
		}
		fresh.counts[word], last = &count, word
	}
	*d = *fresh
	return nil
}
