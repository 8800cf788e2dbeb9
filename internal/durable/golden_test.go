package durable_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
)

func TestGoldenSealed(t *testing.T) {
	fs := durable.NewMem().Sub("d")
	require.NoError(t, fs.MkdirAll("."))
	require.NoError(t, durable.WriteSealed(fs, "name", []byte("payload")))
	b, err := fs.ReadFile("name", 100)
	require.NoError(t, err)
	golden.Bytes(t, "sealed", b)

	require.NoError(t, fs.WriteFile("name", golden.Read(t, "sealed")))
	got, err := durable.ReadSealed(fs, "name", 7)
	require.NoError(t, err)
	require.Equal(t, "payload", string(got))
	require.NoError(t, fs.WriteFile("other", golden.Read(t, "sealed")))
	_, err = durable.ReadSealed(fs, "other", 7)
	require.ErrorIs(t, err, durable.ErrDamaged, "the name is part of it")
}

// A sealed file is what was written under its name or it is damaged.
func FuzzReadSealed(f *testing.F) {
	golden.Seed(f, "sealed")
	fs := durable.NewMem().Sub("d")
	require.NoError(f, fs.MkdirAll("."))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := chain.Derive("file", []byte("name"), []byte{0}, b)
		for _, file := range [][]byte{b, append(append([]byte("USF1"), d[:]...), b...)} {
			require.NoError(t, fs.WriteFile("name", file))
			got, err := durable.ReadSealed(fs, "name", int64(len(b)))
			if err != nil {
				require.ErrorIs(t, err, durable.ErrDamaged)
				continue
			}
			require.NoError(t, durable.WriteSealed(fs, "name", got))
			back, err := fs.ReadFile("name", int64(len(file)))
			require.NoError(t, err)
			require.Equal(t, file, back)
		}
	})
}
