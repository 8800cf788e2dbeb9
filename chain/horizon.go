package chain

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Sketch is a 64-bit Bloom filter over producers, three distinct bits each: no
// false "not seen", some false "seen" (measured in the tests).
type Sketch uint64

// Add returns the sketch with the producer in it.
func (s Sketch) Add(producer string) Sketch { return s | sketchBits(producer) }

// Has says whether the producer may have been seen; false is certain.
func (s Sketch) Has(producer string) bool { b := sketchBits(producer); return s&b == b }

// mayFollow says whether one producer more, or none, can make s of prev.
func (s Sketch) mayFollow(prev Sketch) bool {
	return prev&^s == 0 && bits.OnesCount64(uint64(s&^prev)) <= sketchSize
}

// sketchSize is how many bits a producer has in a sketch.
const sketchSize = 3

func sketchBits(producer string) Sketch {
	id := producerDigest(producer)
	var s Sketch
	for i, set := 0, 0; set < sketchSize && i < len(id); i++ {
		if b := Sketch(1) << (id[i] & 63); s&b == 0 {
			s |= b
			set++
		}
	}
	return s
}

// Horizon is exactly what a chain has seen: per producer the highest number
// and the position where it was seen. Bounded: beyond max producers the least
// recently observed is forgotten, the same on every member. Single owner.
type Horizon struct {
	max    int
	byName map[string]*list.Element
	order  *list.List // of *seen, least recently observed first
}

type seen struct {
	producer string
	sequence uint64
	seq      uint64
}

// NewHorizon makes an empty horizon for at most max producers.
func NewHorizon(max int) *Horizon {
	return &Horizon{max: max, byName: make(map[string]*list.Element), order: list.New()}
}

// Observe notes that the link at seq processed the producer's event.
func (h *Horizon) Observe(producer string, sequence, seq uint64) {
	if e, ok := h.byName[producer]; ok {
		s := e.Value.(*seen)
		s.sequence, s.seq = max(s.sequence, sequence), seq
		h.order.MoveToBack(e)
		return
	}
	if len(h.byName) >= h.max {
		h.Forget(h.order.Front().Value.(*seen).producer)
	}
	h.byName[producer] = h.order.PushBack(&seen{producer, sequence, seq})
}

// Get is the highest number observed of the producer.
func (h *Horizon) Get(producer string) (uint64, bool) {
	if e, ok := h.byName[producer]; ok {
		return e.Value.(*seen).sequence, true
	}
	return 0, false
}

// Forget drops a producer.
func (h *Horizon) Forget(producer string) {
	if e, ok := h.byName[producer]; ok {
		h.order.Remove(e)
		delete(h.byName, producer)
	}
}

// Len is the number of producers.
func (h *Horizon) Len() int { return len(h.byName) }

// Clone is an independent copy.
func (h *Horizon) Clone() *Horizon {
	c := NewHorizon(h.max)
	for e := h.order.Front(); e != nil; e = e.Next() {
		s := *e.Value.(*seen)
		c.byName[s.producer] = c.order.PushBack(&s)
	}
	return c
}

// Marshal encodes the horizon, least recently observed first.
func (h *Horizon) Marshal() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(h.byName)))
	for e := h.order.Front(); e != nil; e = e.Next() {
		s := e.Value.(*seen)
		b = append(b, byte(len(s.producer)))
		b = append(b, s.producer...)
		b = binary.BigEndian.AppendUint64(b, s.sequence)
		b = binary.BigEndian.AppendUint64(b, s.seq)
	}
	return b
}

// Digest is the hash of the encoding.
func (h *Horizon) Digest() Hash { return Derive("horizon", h.Marshal()) }

// ErrHorizon: the bytes are not those of a horizon.
var ErrHorizon = errors.New("malformed horizon")

// ParseHorizon reads what Marshal wrote, for at most max producers.
func ParseHorizon(b []byte, max int) (*Horizon, error) {
	r := reader{b: b}
	n := int(r.u32())
	if n > max || n > len(b)/18 {
		return nil, fmt.Errorf("%w: %d producers", ErrHorizon, n)
	}
	h := NewHorizon(max)
	last := uint64(0)
	for range n {
		s := &seen{producer: string(r.bytes(int(r.u8()))), sequence: r.u64(), seq: r.u64()}
		if r.err != nil || s.producer == "" || len(s.producer) > MaxProducer || s.sequence == 0 || s.seq <= last {
			return nil, fmt.Errorf("%w: producer %.64q after seq %d", ErrHorizon, s.producer, last)
		}
		if _, twice := h.byName[s.producer]; twice {
			return nil, fmt.Errorf("%w: producer %q twice", ErrHorizon, s.producer)
		}
		last = s.seq
		h.byName[s.producer] = h.order.PushBack(s)
	}
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHorizon, err)
	}
	return h, nil
}

// Merge takes in what another horizon has seen; the higher number wins.
func (h *Horizon) Merge(o *Horizon) {
	all := make([]seen, 0, h.Len()+o.Len())
	for _, x := range []*Horizon{h, o} {
		for e := x.order.Front(); e != nil; e = e.Next() {
			all = append(all, *e.Value.(*seen))
		}
	}
	slices.SortStableFunc(all, func(a, b seen) int {
		if a.seq < b.seq {
			return -1
		} else if a.seq > b.seq {
			return 1
		}
		return 0
	})
	for _, s := range all {
		h.Observe(s.producer, s.sequence, s.seq)
	}
}
