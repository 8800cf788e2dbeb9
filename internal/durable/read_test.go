package durable_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
)

// A file is read whole, up to the reader's limit and not a byte beyond.
func TestReadFileAtItsLimit(t *testing.T) {
	for name, fs := range map[string]durable.FS{"os": durable.OS(t.TempDir()), "mem": durable.NewMem().Sub("d")} {
		require.NoError(t, fs.MkdirAll("."))
		for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
			data := bytes.Repeat([]byte{7}, size)
			require.NoError(t, fs.WriteFile("f", data))
			for _, max := range []int{size, size + 1, 1 << 20} {
				got, err := fs.ReadFile("f", int64(max))
				require.NoError(t, err, "%s: %d of %d", name, size, max)
				require.True(t, bytes.Equal(data, got))
			}
			if size > 0 {
				_, err := fs.ReadFile("f", int64(size-1))
				require.ErrorIs(t, err, durable.ErrTooLarge, "%s: %d", name, size)
			}
		}
		_, err := fs.ReadFile("none", 1)
		require.Error(t, err)
	}
}

func BenchmarkReadFile(b *testing.B) {
	fs := durable.OS(b.TempDir())
	data := make([]byte, 256<<10)
	require.NoError(b, fs.WriteFile("f", data))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fs.ReadFile("f", 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
