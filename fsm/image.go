package fsm

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/understudy-ha/understudy/chain"
)

// An image is a state as a Raft snapshot keeps it: a header section and one
// section per journal entry, each with its length, and a digest over all.
const (
	imageMagic   = "USM1"
	maxImageHead = 256 << 20 // sessions and checkpoint references
)

// ErrImage: the bytes are not those of a state, or were changed.
var ErrImage = errors.New("damaged state image")

// Image is a copy of a state that goes on to be read while the state changes.
type Image struct {
	head    []byte
	entries []JournalEntry
}

// Snapshot copies the state. The journal is shared, the rest is encoded now.
func (s *State) Snapshot() *Image {
	b := []byte(imageMagic)
	origin := s.founding.Origin()
	b = append(b, origin[:]...)
	link := s.tip.Head.Link.Bytes()
	b = append(b, link[:]...)
	for _, h := range s.tip.Frontier.Hashes() {
		b = append(b, h[:]...)
	}
	for _, v := range []uint64{s.index, s.logTerm, s.ordinal, flag(s.dead), s.handSeq, s.floor, s.journal.from} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	if s.handSeq > 0 {
		b = appendBytes(b, s.handoff.Marshal())
	} else {
		b = appendBytes(b, nil)
	}
	diverged := ""
	if s.diverged != nil {
		diverged = s.diverged.Error()
	}
	b = appendBytes(b, []byte(diverged))
	b = binary.AppendUvarint(b, uint64(len(s.checks)))
	for i := range s.checks {
		c := &s.checks[i]
		b = appendBytes(b, c.Seal.Marshal())
		b = binary.BigEndian.AppendUint64(b, c.SealSeq)
		b = binary.BigEndian.AppendUint64(b, uint64(c.Time))
		b = binary.AppendUvarint(b, uint64(len(c.Marks)))
		for _, m := range c.Marks {
			b = appendBytes(b, []byte(m.Member))
			b = append(b, m.StoreID[:]...)
			b = append(b, byte(flag(m.Verified)))
		}
	}
	b = s.sessions.marshal(b)
	return &Image{head: b, entries: s.journal.entries[:len(s.journal.entries):len(s.journal.entries)]}
}

func flag(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

func (s *sessions) marshal(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.order.Len()))
	for e := s.order.Front(); e != nil; e = e.Next() {
		x := e.Value.(*session)
		b = appendBytes(b, []byte(x.producer))
		b = binary.AppendUvarint(b, x.last)
		b = binary.BigEndian.AppendUint64(b, uint64(x.used))
		b = binary.AppendUvarint(b, uint64(x.receipts.len()))
		for i := range x.receipts.len() {
			r := x.receipts.at(i)
			for _, v := range []uint64{r.seq, r.term, r.firstOutput, r.outputs} {
				b = binary.AppendUvarint(b, v)
			}
			b = append(b, r.hash[:]...)
			b = append(b, byte(r.flags))
			b = appendBytes(b, []byte(r.reason))
		}
	}
	return b
}

// WriteTo writes the image.
func (m *Image) WriteTo(w io.Writer) (int64, error) {
	h := chain.NewHasher("state image")
	bw := bufio.NewWriterSize(w, 256<<10)
	n := int64(0)
	section := func(b []byte) error {
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(b)))
		h.Write(size[:])
		h.Write(b)
		n += int64(4 + len(b))
		if _, err := bw.Write(size[:]); err != nil {
			return err
		}
		_, err := bw.Write(b)
		return err
	}
	if len(m.head) > maxImageHead {
		return 0, fmt.Errorf("%w: a header of %d bytes", ErrImage, len(m.head))
	}
	if err := section(m.head); err != nil {
		return n, err
	}
	var buf []byte
	for i := range m.entries {
		e := &m.entries[i]
		buf = binary.BigEndian.AppendUint64(buf[:0], e.Index)
		buf = append(buf, e.Data...)
		clear(buf[8+ordinalAt:][:8]) // it counts within an activation's entries, which the image does not have all
		if err := section(buf); err != nil {
			return n, err
		}
	}
	if err := section(nil); err != nil { // the end
		return n, err
	}
	d := h.Hash()
	if _, err := bw.Write(d[:]); err != nil {
		return n, err
	}
	return n + 32, bw.Flush()
}

// ReadState reads an image of a group. Nothing of it is used unless all of it
// is whole.
func ReadState(r io.Reader, f *chain.Founding) (*State, error) {
	h := chain.NewHasher("state image")
	br := bufio.NewReaderSize(r, 256<<10)
	section := func(limit uint32) ([]byte, error) {
		var size [4]byte
		if _, err := io.ReadFull(br, size[:]); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrImage, err)
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > limit {
			return nil, fmt.Errorf("%w: a section of %d bytes", ErrImage, n)
		}
		var b []byte
		for uint32(len(b)) < n { // grows with what is really there
			k := min(n-uint32(len(b)), 1<<20)
			b = slices.Grow(b, int(k))[:len(b)+int(k)]
			if _, err := io.ReadFull(br, b[len(b)-int(k):]); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrImage, err)
			}
		}
		h.Write(size[:])
		h.Write(b)
		return b, nil
	}
	head, err := section(maxImageHead)
	if err != nil {
		return nil, err
	}
	s, err := parseHead(head, f)
	if err != nil {
		return nil, err
	}
	next := s.journal.from
	for {
		b, err := section(MaxEntry + 16)
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			break
		}
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: a journal entry of %d bytes", ErrImage, len(b))
		}
		e, err := ParseEntry(b[8:])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrImage, err)
		}
		switch {
		case e.First != next:
			return nil, fmt.Errorf("%w: journal entry at seq %d, expected %d", ErrImage, e.First, next)
		case e.Kind == ReportEntry, e.Kind == NoopEntry, e.Ordinal != 0:
			return nil, fmt.Errorf("%w: journal entry of kind %d and ordinal %d", ErrImage, e.Kind, e.Ordinal)
		}
		s.journal.add(binary.BigEndian.Uint64(b), e, b[8:])
		next += s.journal.entries[len(s.journal.entries)-1].links()
	}
	var digest chain.Hash
	if _, err := io.ReadFull(br, digest[:]); err != nil || digest != h.Hash() {
		return nil, fmt.Errorf("%w: the digest does not match", ErrImage)
	}
	if next != s.tip.Head.Size() {
		return nil, fmt.Errorf("%w: the journal ends at seq %d, the head is %d", ErrImage, next-1, s.tip.Head.Seq())
	}
	return s, nil
}

func parseHead(b []byte, f *chain.Founding) (*State, error) {
	s, err := NewState(f)
	if err != nil {
		return nil, err
	}
	r := reader{b: b}
	if string(r.take(4)) != imageMagic {
		return nil, fmt.Errorf("%w: it begins with %.4q", ErrImage, b)
	}
	if o := chain.Origin(r.hash()); r.err == nil && o != f.Origin() {
		return nil, fmt.Errorf("%w: it is of group %s, this is %s", ErrImage, o.Short(), f.Origin().Short())
	}
	if err := s.parsePlace(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	s.parseChecks(&r)
	s.sessions.parse(&r)
	if r.err == nil && s.floor > 0 && !slices.ContainsFunc(s.checks, func(c CheckpointRef) bool { return c.Seal.Seq == s.floor }) {
		r.err = fmt.Errorf("no checkpoint at the floor, seq %d", s.floor)
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, r.err)
	}
	return s, nil
}

func (s *State) parsePlace(r *reader) error {
	link, err := chain.ParseLink(r.take(chain.LinkSize))
	if err != nil {
		return err
	}
	var hashes []chain.Hash
	for size := link.Seq + 1; size > 0; size &= size - 1 {
		hashes = append(hashes, r.hash())
	}
	frontier, err := chain.NewFrontier(link.Seq+1, hashes)
	if err != nil {
		return err
	}
	if s.tip, err = chain.ResumeTip(link, frontier); err != nil {
		return err
	}
	s.index, s.logTerm, s.ordinal = r.u64(), r.u64(), r.u64()
	s.dead = r.bit(r.u64())
	s.handSeq, s.floor, s.journal.from = r.u64(), r.u64(), r.u64()
	if h := r.bytes(); len(h) > 0 || s.handSeq > 0 {
		rec, err := chain.ParseHandoff(h)
		if err != nil || s.handSeq == 0 {
			return cmp.Or(err, errors.New("a handoff at no position"))
		}
		s.handoff = *rec
	}
	if d := r.bytes(); len(d) > 0 {
		s.diverged = errors.New(string(d))
	}
	return r.err
}

func (s *State) parseChecks(r *reader) {
	n := r.uvarint()
	if n > maxCheckpoints {
		r.err = cmp.Or(r.err, fmt.Errorf("%d checkpoints", n))
	}
	for ; n > 0 && r.err == nil; n-- {
		seal, err := chain.ParseSeal(r.bytes())
		if err != nil {
			r.err = cmp.Or(r.err, err)
			return
		}
		c := CheckpointRef{Seal: *seal, SealSeq: r.u64(), Time: int64(r.u64())}
		for m := r.uvarint(); m > 0 && r.err == nil; m-- {
			k := Mark{Member: string(r.bytes())}
			copy(k.StoreID[:], r.take(16))
			k.Verified = r.bit(uint64(r.u8()))
			c.Marks = append(c.Marks, k)
		}
		s.checks = append(s.checks, c)
	}
}

func (s *sessions) parse(r *reader) {
	var queue []queued
	n := r.uvarint()
	if n > uint64(s.limits.MaxProducers) {
		r.err = cmp.Or(r.err, fmt.Errorf("%d producers", n))
	}
	for ; n > 0 && r.err == nil; n-- {
		x := &session{producer: string(r.bytes()), last: r.uvarint(), used: int64(r.u64())}
		k := r.uvarint()
		if k > uint64(s.limits.ReceiptsPerProducer) {
			r.err = cmp.Or(r.err, fmt.Errorf("%d receipts of one producer", k))
		}
		for ; k > 0 && r.err == nil; k-- {
			c := receipt{seq: r.uvarint(), term: r.uvarint(), firstOutput: r.uvarint(), outputs: r.uvarint(), hash: r.hash(), flags: chain.Flags(r.u8()), reason: string(r.bytes())}
			s.keep(x, c)
			queue = append(queue, queued{x, c.seq})
		}
		if _, twice := s.byName[x.producer]; twice {
			r.err = cmp.Or(r.err, fmt.Errorf("producer %q twice", x.producer))
		}
		s.byName[x.producer] = s.order.PushBack(x)
	}
	slices.SortFunc(queue, func(a, b queued) int { return cmp.Compare(a.seq, b.seq) })
	for _, q := range queue {
		s.queue.push(q)
	}
}
