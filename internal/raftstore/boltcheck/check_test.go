package boltcheck_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/raftstore/boltcheck"
)

// file is a bbolt file with a bucket that is inline, one with pages of its
// own and a value that overflows a page.
func file(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024, NoFreelistSync: true})
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		small, err := tx.CreateBucket([]byte("small"))
		require.NoError(t, err)
		require.NoError(t, small.Put([]byte("k"), []byte("v")))
		large, err := tx.CreateBucket([]byte("large"))
		require.NoError(t, err)
		for i := range 60 {
			require.NoError(t, large.Put(fmt.Appendf(nil, "key %03d", i), bytes.Repeat([]byte{byte(i)}, 20)))
		}
		return large.Put([]byte("long"), make([]byte, 3000))
	}))
	require.NoError(t, db.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// seal makes the checksums of both meta pages right, so that fuzzing gets past them.
func seal(b []byte) []byte {
	b = bytes.Clone(b)
	for _, at := range []int{16, 1024 + 16} {
		if len(b) >= at+64 {
			h := fnv.New64a()
			h.Write(b[at : at+56])
			binary.LittleEndian.PutUint64(b[at+56:], h.Sum64())
		}
	}
	return b
}

func TestWholeFile(t *testing.T) {
	b := file(t)
	require.NoError(t, boltcheck.Check(bytes.NewReader(b), int64(len(b))))
	require.Equal(t, b, seal(b))
}

// Buckets within an inline bucket are nothing that bbolt writes; elements that
// share such a value would make the walk double at each level.
func TestInlineBucketsDoNotNest(t *testing.T) {
	page := make([]byte, 16) // a leaf page whose elements share one value, again and again
	page[8] = 2
	for range 40 {
		b := make([]byte, 16+2*16)
		binary.LittleEndian.PutUint16(b[8:], 2)
		binary.LittleEndian.PutUint16(b[10:], 2)
		// Key 0 is the end of key 1, so that one value follows both.
		b = append(b, "ba"...)
		value := append(make([]byte, 16), page...)
		for i := range 2 {
			e := b[16+16*i:]
			binary.LittleEndian.PutUint32(e, 1)
			binary.LittleEndian.PutUint32(e[4:], uint32(len(b)-1-i-16-16*i))
			binary.LittleEndian.PutUint32(e[8:], uint32(1+i))
			binary.LittleEndian.PutUint32(e[12:], uint32(len(value)))
		}
		page = append(b, value...)
	}
	b := file(t)
	whole := bytes.Clone(b)
	meta := b[1024:]
	if binary.LittleEndian.Uint64(b[16+48:]) > binary.LittleEndian.Uint64(meta[16+48:]) {
		meta = b
	}
	root := binary.LittleEndian.Uint64(meta[16+16:])
	// The page takes the place of the root, with as many pages after it as it needs.
	high := binary.LittleEndian.Uint64(meta[16+40:])
	over := (len(page) + 1023) / 1024
	binary.LittleEndian.PutUint64(meta[16+16:], high)
	binary.LittleEndian.PutUint64(meta[16+40:], high+uint64(over))
	binary.LittleEndian.PutUint64(page, high)
	binary.LittleEndian.PutUint32(page[12:], uint32(over-1))
	b = append(b[:high*1024:high*1024], append(page, make([]byte, over*1024-len(page))...)...)
	b = seal(b)
	require.NotEqual(t, high, root)
	require.ErrorContains(t, boltcheck.Check(bytes.NewReader(b), int64(len(b))), "within an inline bucket")
	require.NoError(t, boltcheck.Check(bytes.NewReader(whole), int64(len(whole))))
}

func FuzzBoltCheck(f *testing.F) {
	f.Add(file(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(b)} {
			golden.Bounded(t, len(b), func() {
				if err := boltcheck.Check(bytes.NewReader(b), int64(len(b))); err != nil {
					require.ErrorIs(t, err, boltcheck.ErrDamaged)
				}
			})
		}
	})
}
