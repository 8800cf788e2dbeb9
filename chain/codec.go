package chain

import (
	"encoding/binary"
	"errors"
)

// reader takes fields off the front of b; after the first one that is not
// there everything is zero and err is set.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends too early")

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errShort
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.bytes(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.bytes(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.bytes(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) hash() (h [32]byte) {
	if v := r.bytes(32); v != nil {
		copy(h[:], v)
	}
	return h
}

func (r *reader) magic(m string) {
	if string(r.bytes(len(m))) != m && r.err == nil {
		r.err = errors.New("it does not begin with " + m)
	}
}

// text is a length byte and that many bytes.
func (r *reader) text() string { return string(r.bytes(int(r.u8()))) }

func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = errors.New("bytes are left over")
	}
	return r.err
}

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }
