package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/understudy-ha/understudy/chain"
)

// EntryKind says what an entry brings.
type EntryKind uint8

// The kinds of entries. Report and Noop make no link.
const (
	Batch EntryKind = iota + 1
	HandoffEntry
	SealEntry
	ReportEntry
	NoopEntry
)

// MaxSteps bounds the steps of an entry.
const MaxSteps = 4096

// MaxEntry bounds an encoded entry in bytes: a batch over its target by one
// step of the largest size.
const MaxEntry = 8 << 20

// Step is one processed event as the journal keeps it.
type Step struct {
	Producer string
	Sequence uint64
	Time     int64
	Flags    chain.Flags // Rejected or Refused; the entry's last step is rooted implicitly
	Reason   string
	Payload  []byte
	Outputs  [][]byte
}

// Entry is one Raft log entry.
type Entry struct {
	Kind    EntryKind
	Term    uint64
	Ordinal uint64 // within the activation; 0 for the HANDOFF and for entries without links
	First   uint64 // seq of the first link
	Steps   []Step // of a batch
	Record  []byte // of any other
	Time    int64  // of a record, unix ns
	Last    chain.Hash
}

const entryMagic = 0xE1

// ordinalAt is where an entry's ordinal begins in its encoding.
const ordinalAt = 2 + 8

// ErrEntry: the bytes are not those of an entry.
var ErrEntry = errors.New("malformed entry")

// Marshal appends the entry's encoding to dst.
func (e *Entry) Marshal(dst []byte) []byte {
	if size := e.size(); cap(dst)-len(dst) < size { // no more: the log and the journal keep it
		dst = append(make([]byte, 0, len(dst)+size), dst...)
	}
	b := append(dst, entryMagic, byte(e.Kind))
	b = binary.BigEndian.AppendUint64(b, e.Term)
	b = binary.BigEndian.AppendUint64(b, e.Ordinal)
	b = binary.BigEndian.AppendUint64(b, e.First)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time))
	b = append(b, e.Last[:]...)
	b = appendBytes(b, e.Record)
	b = binary.AppendUvarint(b, uint64(len(e.Steps)))
	for i := range e.Steps {
		s := &e.Steps[i]
		b = append(b, byte(s.Flags))
		b = appendBytes(b, []byte(s.Producer))
		b = binary.AppendUvarint(b, s.Sequence)
		b = binary.BigEndian.AppendUint64(b, uint64(s.Time))
		b = appendBytes(b, []byte(s.Reason))
		b = appendBytes(b, s.Payload)
		b = binary.AppendUvarint(b, uint64(len(s.Outputs)))
		for _, o := range s.Outputs {
			b = appendBytes(b, o)
		}
	}
	return b
}

// size is how many bytes Marshal appends.
func (e *Entry) size() int {
	n := ordinalAt + 3*8 + len(e.Last) + sizeOf(len(e.Record)) + sizeOfNumber(uint64(len(e.Steps)))
	for i := range e.Steps {
		s := &e.Steps[i]
		n += 1 + sizeOf(len(s.Producer)) + sizeOfNumber(s.Sequence) + 8 + sizeOf(len(s.Reason)) + sizeOf(len(s.Payload)) + sizeOfNumber(uint64(len(s.Outputs)))
		for _, o := range s.Outputs {
			n += sizeOf(len(o))
		}
	}
	return n
}

// sizeOf is how many bytes n bytes take, with their number before them.
func sizeOf(n int) int { return sizeOfNumber(uint64(n)) + n }

func sizeOfNumber(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// ParseEntry reads what Marshal wrote. The entry's byte slices are parts of b.
func ParseEntry(b []byte) (*Entry, error) {
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrEntry, len(b), MaxEntry)
	}
	r := reader{b: b}
	if r.u8() != entryMagic {
		return nil, fmt.Errorf("%w: it begins with %#x", ErrEntry, append(b, 0)[0])
	}
	e := &Entry{Kind: EntryKind(r.u8()), Term: r.u64(), Ordinal: r.u64(), First: r.u64(), Time: int64(r.u64()), Last: r.hash(), Record: r.bytes()}
	n := r.uvarint()
	switch {
	case r.err != nil:
	case e.Kind < Batch || e.Kind > NoopEntry:
		r.err = fmt.Errorf("kind %d", e.Kind)
	case n > MaxSteps || n > uint64(len(r.b)/13):
		r.err = fmt.Errorf("%d steps in %d bytes", n, len(r.b))
	case (e.Kind == Batch) != (n > 0), e.Kind == Batch && len(e.Record) > 0:
		r.err = fmt.Errorf("kind %d with %d steps and a record of %d bytes", e.Kind, n, len(e.Record))
	}
	if r.err == nil && n > 0 {
		e.Steps = make([]Step, n)
	}
	outs := make([][]byte, 0, len(e.Steps)) // one for each step is what most daemons give
	producer := ""
	for i := range e.Steps {
		e.Steps[i] = r.step(producer, &outs)
		if r.err != nil {
			break
		}
		producer = e.Steps[i].Producer
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, r.err)
	}
	return e, nil
}

// step reads a step. Its producer is often the one before, whose name it then
// shares; its outputs are a part of outs.
func (r *reader) step(producer string, outs *[][]byte) Step {
	s := Step{Flags: chain.Flags(r.u8()), Producer: producer}
	if b := r.bytes(); string(b) != producer {
		s.Producer = string(b)
	}
	s.Sequence, s.Time = r.uvarint(), int64(r.u64())
	s.Reason = string(r.bytes())
	s.Payload = r.bytes()
	n := r.uvarint()
	switch {
	case r.err != nil:
		return s
	case s.Flags != 0 && s.Flags != chain.Rejected && s.Flags != chain.Refused:
		r.err = fmt.Errorf("step flags %#x", uint8(s.Flags))
	case len(s.Producer) > chain.MaxProducer || (s.Producer == "") != (s.Sequence == 0):
		r.err = fmt.Errorf("producer %.70q with number %d", s.Producer, s.Sequence)
	case n > uint64(len(r.b)):
		r.err = fmt.Errorf("%d outputs in %d bytes", n, len(r.b))
	case s.Flags != 0 && n > 0, s.Flags == 0 && s.Reason != "", len(s.Reason) > 1024:
		r.err = fmt.Errorf("step flags %#x with %d outputs and a reason of %d bytes", uint8(s.Flags), n, len(s.Reason))
	case s.Time < 0:
		r.err = errors.New("step from before 1970")
	}
	if r.err == nil && n > 0 {
		from := len(*outs)
		for i := uint64(0); i < n && r.err == nil; i++ {
			*outs = append(*outs, r.bytes())
		}
		s.Outputs = (*outs)[from:len(*outs):len(*outs)]
	}
	return s
}

// LinkKind is the kind of the link of an entry that carries a record.
func (e *Entry) LinkKind() chain.Kind {
	if e.Kind == SealEntry {
		return chain.KindSeal
	}
	return chain.KindHandoff
}

// draft is the link that an entry's record becomes.
func (e *Entry) draft() chain.Draft {
	kind := e.LinkKind()
	return chain.Draft{Kind: kind, Term: e.Term, Time: e.Time, Input: chain.RecordDigest(kind, e.Record)}
}

// draft is the link that a step becomes after outputs earlier ones.
func (s *Step) draft(term, outputs uint64, rooted bool) chain.Draft {
	d := chain.Draft{
		Kind: chain.KindStep, Flags: s.Flags, Term: term, Time: s.Time, Producer: s.Producer,
		Input:      chain.EventDigest(s.Producer, s.Sequence, s.Payload),
		NewOutputs: uint64(len(s.Outputs)), OutputRoot: chain.OutputRoot(outputs+1, s.Outputs),
	}
	if rooted {
		d.Flags |= chain.Rooted
	}
	return d
}

// Report is a member's statement that it holds a sealed checkpoint durably,
// and whether its own replay agrees with it.
type Report struct {
	Member   string
	StoreID  [16]byte
	Seq      uint64 // covered position
	Manifest chain.Hash
	Verified bool
}

// Marshal encodes the report.
func (p *Report) Marshal() []byte {
	b := appendBytes(nil, []byte(p.Member))
	b = append(b, p.StoreID[:]...)
	b = binary.BigEndian.AppendUint64(b, p.Seq)
	b = append(b, p.Manifest[:]...)
	if p.Verified {
		return append(b, 1)
	}
	return append(b, 0)
}

// ParseReport reads what Marshal wrote.
func ParseReport(b []byte) (*Report, error) {
	r := reader{b: b}
	p := &Report{Member: string(r.bytes())}
	copy(p.StoreID[:], r.take(16))
	p.Seq, p.Manifest = r.u64(), r.hash()
	p.Verified = r.bit(uint64(r.u8()))
	if r.err == nil && (len(r.b) > 0 || !chain.ValidName(p.Member)) {
		r.err = fmt.Errorf("member %.70q, %d bytes left over", p.Member, len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: report: %w", ErrEntry, r.err)
	}
	return p, nil
}
