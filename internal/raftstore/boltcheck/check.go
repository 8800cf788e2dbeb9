// Package boltcheck looks at a bbolt file with plain reads, without mapping it,
// so that a damaged one can be refused before the library opens it: there a
// wild page reference ends the process.
//
// It checks both meta pages (a flipped newest one would silently bring back
// the transaction before), and walks the tree from the root: page ids and
// kinds, element bounds, key order, and that every page is reached once and
// lies within the file. What the values mean is their owner's to check. The
// layout is that of bbolt 1.3 and 1.4 on little-endian machines.
package boltcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// ErrDamaged: the file is not a whole bbolt file.
var ErrDamaged = errors.New("damaged bbolt file")

const (
	flagBranch, flagLeaf, flagMeta = 0x01, 0x02, 0x04
	magic, version                 = 0xED0CDAED, 2
	bucketLeaf                     = 0x01
	headSize, elemSize             = 16, 16
	maxPages                       = 1 << 24
	maxDepth                       = 64
)

type walker struct {
	r        io.ReaderAt
	pageSize int64
	high     uint64
	seen     map[uint64]bool
}

// Check reads a file of the given size. It never panics and reads no page twice.
func Check(r io.ReaderAt, size int64) error {
	w := &walker{r: r, seen: map[uint64]bool{0: true, 1: true}}
	var metas [2]meta
	first := make([]byte, 4096)
	if _, err := r.ReadAt(first, 0); err != nil {
		return fmt.Errorf("%w: it has %d bytes", ErrDamaged, size)
	}
	w.pageSize = int64(binary.LittleEndian.Uint32(first[headSize+8:]))
	if w.pageSize < 1024 || w.pageSize > 64<<10 || w.pageSize&(w.pageSize-1) != 0 {
		return fmt.Errorf("%w: pages of %d bytes", ErrDamaged, w.pageSize)
	}
	for i := range metas {
		b := make([]byte, headSize+64)
		if _, err := r.ReadAt(b, int64(i)*w.pageSize); err != nil {
			return fmt.Errorf("%w: meta page %d: %w", ErrDamaged, i, err)
		}
		var err error
		if metas[i], err = parseMeta(b, uint64(i), w.pageSize); err != nil {
			return err
		}
	}
	m := metas[0]
	if metas[1].txid > m.txid {
		m = metas[1]
	}
	w.high = m.high
	if m.high > maxPages || int64(m.high)*w.pageSize > size {
		return fmt.Errorf("%w: %d pages of %d bytes in a file of %d", ErrDamaged, m.high, w.pageSize, size)
	}
	return w.page(m.root, 0, nil, nil)
}

type meta struct{ root, high, txid uint64 }

func parseMeta(b []byte, id uint64, pageSize int64) (meta, error) {
	m := b[headSize:]
	h := fnv.New64a()
	h.Write(m[:56])
	switch {
	case binary.LittleEndian.Uint64(b) != id, binary.LittleEndian.Uint16(b[8:]) != flagMeta:
		return meta{}, fmt.Errorf("%w: page %d is no meta page", ErrDamaged, id)
	case binary.LittleEndian.Uint32(m) != magic, binary.LittleEndian.Uint32(m[4:]) != version,
		int64(binary.LittleEndian.Uint32(m[8:])) != pageSize, binary.LittleEndian.Uint64(m[56:]) != h.Sum64():
		return meta{}, fmt.Errorf("%w: meta page %d does not match its checksum", ErrDamaged, id)
	}
	return meta{root: binary.LittleEndian.Uint64(m[16:]), high: binary.LittleEndian.Uint64(m[40:]), txid: binary.LittleEndian.Uint64(m[48:])}, nil
}

// page walks the tree under a page whose keys are at least low and below high.
func (w *walker) page(id uint64, depth int, low, high []byte) error {
	bad := func(what string) error { return fmt.Errorf("%w: page %d: %s", ErrDamaged, id, what) }
	if id >= w.high || w.seen[id] || depth > maxDepth {
		return bad("reached twice or out of bounds")
	}
	head := make([]byte, headSize)
	if _, err := w.r.ReadAt(head, int64(id)*w.pageSize); err != nil {
		return bad(err.Error())
	}
	over := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || over >= w.high || id+over >= w.high {
		return bad("its header is of another page")
	}
	for i := id; i <= id+over; i++ {
		if w.seen[i] {
			return bad("reached twice")
		}
		w.seen[i] = true
	}
	b := make([]byte, (int64(over)+1)*w.pageSize)
	if _, err := w.r.ReadAt(b, int64(id)*w.pageSize); err != nil {
		return bad(err.Error())
	}
	return w.elements(b, depth, false, low, high, bad)
}

// elements walks what a page refers to. A bucket whose page is within its
// element has no buckets in it: bbolt gives those pages of their own.
func (w *walker) elements(b []byte, depth int, inline bool, low, high []byte, bad func(string) error) error {
	flags, count := binary.LittleEndian.Uint16(b[8:]), int(binary.LittleEndian.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return bad(fmt.Sprintf("flags %#x", flags))
	}
	if headSize+count*elemSize > len(b) || flags == flagBranch && count == 0 {
		return bad(fmt.Sprintf("%d elements", count))
	}
	type element struct {
		key, value []byte
		child      uint64
		flags      uint32
	}
	elems := make([]element, count)
	for i := range elems {
		at := headSize + i*elemSize
		e := b[at:]
		var pos, ks, vs uint32
		if flags == flagBranch {
			pos, ks, elems[i].child = binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint64(e[8:])
		} else {
			elems[i].flags = binary.LittleEndian.Uint32(e)
			pos, ks, vs = binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		}
		start := int64(at) + int64(pos)
		if int(pos) < (count-i)*elemSize || start+int64(ks)+int64(vs) > int64(len(b)) {
			return bad(fmt.Sprintf("element %d lies outside", i))
		}
		elems[i].key, elems[i].value = b[start:start+int64(ks)], b[start+int64(ks):start+int64(ks)+int64(vs)]
		k := elems[i].key
		if i > 0 && bytes.Compare(elems[i-1].key, k) >= 0 || low != nil && bytes.Compare(k, low) < 0 || high != nil && bytes.Compare(k, high) >= 0 {
			return bad(fmt.Sprintf("key %d is out of order", i))
		}
	}
	for i := range elems {
		e := &elems[i]
		switch {
		case flags == flagBranch:
			next := high
			if i+1 < count {
				next = elems[i+1].key
			}
			if err := w.page(e.child, depth+1, e.key, next); err != nil {
				return err
			}
		case e.flags > bucketLeaf:
			return bad(fmt.Sprintf("element %d has flags %#x", i, e.flags))
		case e.flags == bucketLeaf && inline:
			return bad(fmt.Sprintf("element %d is a bucket within an inline bucket", i))
		case e.flags == bucketLeaf:
			if len(e.value) < 16 {
				return bad(fmt.Sprintf("bucket %d is cut", i))
			}
			root := binary.LittleEndian.Uint64(e.value)
			if root != 0 {
				if err := w.page(root, depth+1, nil, nil); err != nil {
					return err
				}
				continue
			}
			within := e.value[16:]
			if len(within) < headSize || binary.LittleEndian.Uint16(within[8:]) != flagLeaf {
				return bad(fmt.Sprintf("bucket %d has no page", i))
			}
			if err := w.elements(within, depth+1, true, nil, nil, bad); err != nil {
				return err
			}
		}
	}
	return nil
}
