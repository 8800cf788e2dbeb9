package fsm

import (
	"encoding/binary"
	"errors"

	"github.com/understudy-ha/understudy/chain"
)

// reader takes fields off the front of b; after the first that is not there
// everything is zero and err is set. Slices are parts of b.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends too early")

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.err = errors.New("a number is not canonical")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	return r.take(int(n))
}

func (r *reader) hash() (h chain.Hash) {
	copy(h[:], r.take(32))
	return h
}

// bit is a number that must be 0 or 1.
func (r *reader) bit(v uint64) bool {
	if v > 1 && r.err == nil {
		r.err = errors.New("neither yes nor no")
	}
	return v == 1
}
