package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// MaxProducer bounds a producer's name in bytes.
const MaxProducer = 64

// Event is what a daemon processes. Everything in it is recorded, so it is the
// same at every replay.
type Event struct {
	Producer string `json:"producer,omitempty"` // who sent it; empty if unnumbered
	Sequence uint64 `json:"sequence,omitempty"` // its number there, from 1
	Time     int64  `json:"time"`               // unix ns, never decreasing within a chain
	Seq      uint64 `json:"seq"`                // position of its link
	Term     uint64 `json:"term"`
	Payload  []byte `json:"payload"`
}

// Output is one of the daemon's outputs. Number counts 1, 2, 3 … over the
// group's life without gaps; Seq is the link of the event that caused it.
type Output struct {
	Number  uint64 `json:"number"`
	Seq     uint64 `json:"seq"`
	Term    uint64 `json:"term"`
	Payload []byte `json:"payload"`
}

// EventDigest is the input digest of a STEP link.
func EventDigest(producer string, sequence uint64, payload []byte) Hash {
	h := eventPool.get()
	if producer != "" {
		id := producerDigest(producer)
		copy(h.buf[:], id[:])
	} else {
		clear(h.buf[:32])
	}
	binary.BigEndian.PutUint64(h.buf[32:], sequence)
	h.Write(h.buf[:40])
	h.Write(payload)
	return eventPool.sum(h)
}

// producerDigest is asked for the same producer many times in a row.
func producerDigest(producer string) Hash {
	p := producerPool.get()
	if p.of != producer || producer == "" {
		n := copy(p.buf[:], producer)
		p.Write(p.buf[:n])
		if n < len(producer) {
			p.Write([]byte(producer[n:]))
		}
		p.of = producer
		return producerPool.sum(p)
	}
	id := p.out
	producerPool.p.Put(p)
	return id
}

// RecordDigest is the input digest of a link that carries a record.
func RecordDigest(k Kind, record []byte) Hash {
	what := map[Kind]string{KindGenesis: "founding", KindHandoff: "handoff", KindRoster: "roster", KindSeal: "seal", KindFork: "fork"}[k]
	return Derive(what, record)
}

// OutputLeaf commits to one output and its number.
func OutputLeaf(number uint64, payload []byte) Hash {
	h := outputPool.get()
	binary.BigEndian.PutUint64(h.buf[:], number)
	h.Write(h.buf[:8])
	h.Write(payload)
	return outputPool.sum(h)
}

// outputNode is the RFC 6962 leaf over an output's digest.
func outputNode(leaf Hash) Hash {
	var b [33]byte
	copy(b[1:], leaf[:])
	return sha256.Sum256(b[:])
}

// OutputRoot is the RFC 6962 root over the outputs of one step, numbered from first.
func OutputRoot(first uint64, outputs [][]byte) Hash {
	if len(outputs) == 0 {
		return emptyRoot
	}
	if len(outputs) == 1 {
		return outputNode(OutputLeaf(first, outputs[0]))
	}
	var f Frontier
	for i, o := range outputs {
		f.Append(outputNode(OutputLeaf(first+uint64(i), o)))
	}
	return f.Root()
}

// ProveOutput is the RFC 6962 inclusion path of output i in its step's root.
func ProveOutput(first uint64, outputs [][]byte, i int) []Hash {
	nodes := make([]Hash, len(outputs))
	for j, o := range outputs {
		nodes[j] = outputNode(OutputLeaf(first+uint64(j), o))
	}
	return inclusion(nodes, i)
}

func inclusion(nodes []Hash, i int) []Hash {
	if len(nodes) <= 1 {
		return nil
	}
	k := 1 << (bits.Len(uint(len(nodes)-1)) - 1)
	if i < k {
		return append(inclusion(nodes[:k], i), subtree(nodes[k:]))
	}
	return append(inclusion(nodes[k:], i-k), subtree(nodes[:k]))
}

func subtree(nodes []Hash) Hash {
	var f Frontier
	for _, n := range nodes {
		f.Append(n)
	}
	return f.Root()
}

// CheckOutput verifies a path from ProveOutput: that leaf (an OutputLeaf) is
// output i of count under root.
func CheckOutput(root Hash, count, i uint64, leaf Hash, path []Hash) error {
	if i >= count || len(path) > 63 {
		return fmt.Errorf("output %d of %d cannot be proven", i, count)
	}
	node, fn, sn := outputNode(leaf), i, count-1
	for _, p := range path {
		if sn == 0 {
			return fmt.Errorf("output %d of %d: the path is too long", i, count)
		}
		if fn&1 == 1 || fn == sn {
			node = nodeHash(p, node)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			node = nodeHash(node, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || node != root {
		return fmt.Errorf("output %d of %d is not under this root", i, count)
	}
	return nil
}
