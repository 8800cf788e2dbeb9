// Package golden pins byte formats in tests. A golden file holds what an
// encoder wrote from fixed inputs on the day the format was fixed; a change of
// one byte is a change of the format, which stored data and other members do
// not survive. `go test PACKAGE -update` writes the files anew.
package golden

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Updating says that files of what is expected are to be written anew.
func Updating() bool { return *update }

func path(name string) string { return filepath.Join("testdata", name+".golden") }

// Bytes compares an encoding with testdata/NAME.golden, which holds it in hex.
func Bytes(t testing.TB, name string, got []byte) {
	t.Helper()
	write(t, name, []byte(dump(got)))
	require.Equal(t, dump(Read(t, name)), dump(got), "%s is not encoded as before: is the change of the format meant?", name)
}

// Text compares a text format with testdata/NAME.golden, which holds it as it is.
func Text(t testing.TB, name string, got []byte) {
	t.Helper()
	write(t, name, got)
	require.Equal(t, string(ReadText(t, name)), string(got), "%s is not written as before: is the change of the format meant?", name)
}

// Read is the bytes that a golden file holds in hex.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(ReadText(t, name))), ""))
	require.NoError(t, err)
	return b
}

// ReadText is a golden file's text.
func ReadText(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(path(name))
	require.NoError(t, err)
	return b
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path(name), b, 0o644))
	}
}

// dump is hex, 32 bytes a line.
func dump(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 32)
		s.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return s.String()
}

// Seed gives a fuzz target the bytes of golden files to begin with.
func Seed(f *testing.F, names ...string) {
	f.Helper()
	for _, n := range names {
		f.Add(Read(f, n))
	}
}

// SeedText is Seed for text formats.
func SeedText(f *testing.F, names ...string) {
	f.Helper()
	for _, n := range names {
		f.Add(ReadText(f, n))
	}
}

// What decoding may allocate: a part that does not depend on the input, as
// buffers do, and a part in proportion to it. The smallest elements are a byte
// or two long and become some tens of bytes in memory.
const (
	allocBase   = 4 << 20
	allocFactor = 64
)

// Bounded runs a decoder and fails if it allocated more than its input
// justifies: a count that the input claims must not be believed.
func Bounded(t testing.TB, input int, decode func()) {
	t.Helper()
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	before := s[0].Value.Uint64()
	decode()
	metrics.Read(s)
	used := s[0].Value.Uint64() - before
	require.LessOrEqual(t, used, uint64(allocBase+allocFactor*input), "bytes allocated for an input of %d", input)
}
