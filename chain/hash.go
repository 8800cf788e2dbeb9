package chain

import (
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/zeebo/blake3"
)

// Hash is a 32-byte digest: BLAKE3 of a link or record, or a SHA-256 tree root.
type Hash [32]byte

// String is 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero says whether no hash is set.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText writes the hexadecimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (h *Hash) UnmarshalText(b []byte) error {
	v, err := parse32(b, "hash")
	if err == nil {
		*h = v
	}
	return err
}

// ParseHash reads 64 lower-case hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	b, err := parse32(s, "hash")
	return Hash(b), err
}

// Origin identifies one incarnation of a group: the hash of its founding record.
type Origin [32]byte

// String is 64 lower-case hexadecimal digits.
func (o Origin) String() string { return hex.EncodeToString(o[:]) }

// Short is the first 8 digits, for people.
func (o Origin) Short() string { return o.String()[:8] }

// MarshalText writes the hexadecimal form.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (o *Origin) UnmarshalText(b []byte) error {
	v, err := parse32(b, "origin")
	if err == nil {
		*o = v
	}
	return err
}

// ParseOrigin reads 64 lower-case hexadecimal digits.
func ParseOrigin(s string) (Origin, error) {
	b, err := parse32(s, "origin")
	return Origin(b), err
}

func parse32[T string | []byte](s T, what string) (v [32]byte, err error) {
	ok := len(s) == 2*len(v)
	for i := 0; ok && i < len(s); i++ {
		var d byte
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		default:
			ok = false
		}
		v[i/2] = v[i/2]<<4 | d
	}
	if !ok {
		return [32]byte{}, fmt.Errorf("%.70q is no %s: 64 lower-case hexadecimal digits are", s, what)
	}
	return v, nil
}

// contextOf is the BLAKE3 key-derivation context of a kind of content. The
// contexts never change: they are part of every stored hash.
func contextOf(what string) string { return "understudy 2026-11-21 " + what + " v1" }

// Hasher hashes one kind of content, BLAKE3 in derive-key mode. It may be
// reused after Reset and is not safe for concurrent use.
type Hasher struct{ h *blake3.Hasher }

// NewHasher makes a hasher for content of a kind: link, event, output,
// producer, horizon, manifest, chunk, roster, founding, handoff, seal, fork …
func NewHasher(what string) *Hasher { return &Hasher{blake3.NewDeriveKey(contextOf(what))} }

// Write adds content; it never fails.
func (h *Hasher) Write(b []byte) (int, error) { return h.h.Write(b) }

// Reset forgets what was written.
func (h *Hasher) Reset() { h.h.Reset() }

// Hash is the digest of what was written since the last Reset.
func (h *Hasher) Hash() (out Hash) {
	h.h.Sum(out[:0])
	return out
}

// Derive is the hash of the parts, one after the other, as content of a kind.
func Derive(what string, parts ...[]byte) Hash {
	p, ok := kinds.Load(what)
	if !ok {
		p, _ = kinds.LoadOrStore(what, newPool(what))
	}
	h := p.(*pool).get()
	for _, b := range parts {
		h.Write(b)
	}
	return p.(*pool).sum(h)
}

// kinds has the pool of each kind of content that Derive was asked for. A
// program knows a few dozen.
var kinds sync.Map // string -> *pool

// pool keeps hashers of one kind: making one costs more than most hashes do.
type pool struct{ p sync.Pool }

// pooled is a hasher with room for a fixed-size header, so that nothing has to
// be allocated for one hash.
type pooled struct {
	Hasher
	buf [LinkSize]byte
	out Hash
	of  string // in producerPool: whose digest out is
}

func newPool(what string) *pool {
	return &pool{sync.Pool{New: func() any { return &pooled{Hasher: *NewHasher(what)} }}}
}

func (p *pool) get() *pooled {
	return p.p.Get().(*pooled)
}

// sum returns the digest and gives the hasher back.
func (p *pool) sum(h *pooled) Hash {
	h.h.Sum(h.out[:0])
	out := h.out
	h.Reset()
	p.p.Put(h)
	return out
}

var (
	linkPool     = newPool("link")
	eventPool    = newPool("event")
	outputPool   = newPool("output")
	producerPool = newPool("producer")
)
