package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

type gotLine struct {
	text  string
	whole bool
	long  bool
}

func readLines(t *testing.T, r io.Reader, max int) (got []gotLine, end error) {
	lines := NewLines(r, max)
	for {
		b, whole, err := lines.Next()
		if err != nil && !errors.Is(err, ErrLongLine) {
			return got, err
		}
		got = append(got, gotLine{string(b), whole, err != nil})
	}
}

// Lines of any length come one by one, however the bytes come; those over the
// limit are passed over, in bounded memory.
func TestLines(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	in := "a\n\n  \nbb\n" + big + "\n" + "exact678\n" + "over56789\nlast"
	want := []gotLine{{"a", true, false}, {"bb", true, false}, {"", true, true}, {"exact678", true, false}, {"", true, true}, {"last", false, false}}
	for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
		got, end := readLines(t, r, 8)
		require.Equal(t, want, got)
		require.ErrorIs(t, end, io.EOF)
	}
	got, _ := readLines(t, strings.NewReader(in), 200_000)
	require.Equal(t, gotLine{big, true, false}, got[2])

	lines := NewLines(strings.NewReader(big+big), 8)
	_, whole, err := lines.Next()
	require.ErrorIs(t, err, ErrLongLine)
	require.False(t, whole)
	require.LessOrEqual(t, cap(lines.buf), 32<<10)
}

// Half a line before an error is not a line.
func TestLinesCut(t *testing.T) {
	cut := errors.New("cut")
	got, end := readLines(t, io.MultiReader(strings.NewReader("a\nhal"), iotest.ErrReader(cut)), 100)
	require.Equal(t, []gotLine{{"a", true, false}}, got)
	require.ErrorIs(t, end, cut)
}
