package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrLongLine is a line over the limit. It was skipped: the next one can be read.
var ErrLongLine = errors.New("line too long")

// Lines reads a stream of lines, each of bounded length.
type Lines struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// NewLines reads lines of at most max bytes from r.
func NewLines(r io.Reader, max int) *Lines {
	return &Lines{r: bufio.NewReaderSize(r, 32<<10), max: max}
}

// Next is the next line that is not empty, without its newline, valid until
// the next call. The last line may lack the newline: then whole is false, as it
// is if the stream was cut.
func (l *Lines) Next() (line []byte, whole bool, err error) {
	for {
		line, whole, err = l.line()
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		return line, whole, err
	}
}

func (l *Lines) line() ([]byte, bool, error) {
	l.buf = l.buf[:0]
	n := 0
	for {
		part, err := l.r.ReadSlice('\n')
		n += len(part)
		if n <= l.max+1 {
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (err != io.EOF || n == 0):
			return nil, false, err
		}
		whole := err == nil
		if whole {
			n--
		}
		if n > l.max {
			return nil, whole, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrLongLine, n, l.max)
		}
		return l.buf[:n], whole, nil
	}
}
