package poison

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// Attempt is one call of a daemon's Process.
type Attempt struct {
	Replay   bool   // of a committed event
	Term     uint64 // of the event
	Seq      uint64 // its position, which is not final unless it is a replay
	Producer string
	Sequence uint64
	Input    chain.Hash
}

// A note, of the bytes of a slot:
//
//	  0  4  "USN1"
//	  4  1  1 a new event, 2 a replay
//	  5  1  length of the producer's name
//	  6  2  zero
//	  8  8  term
//	 16  8  seq
//	 24  8  number of the event at its producer
//	 32 32  input digest
//	 64 64  producer's name, zeros
//	128  4  CRC-32C of what is before
//	132 60  zero
//
// A slot without the magic is free. A note that is torn or damaged is none.
const (
	noteMagic = "USN1"
	noteSize  = 132
	slotSize  = 192
	slots     = 16
	pageSize  = 4096 // the rest is spare
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// put writes the note into the first noteSize bytes of b. What it does not
// write is zero since the last time.
func (a *Attempt) put(b *[slotSize]byte) {
	copy(b[:], noteMagic)
	b[4] = 1
	if a.Replay {
		b[4] = 2
	}
	clear(b[64+len(a.Producer) : max(64+len(a.Producer), 64+int(b[5]))])
	b[5] = byte(len(a.Producer))
	binary.BigEndian.PutUint64(b[8:], a.Term)
	binary.BigEndian.PutUint64(b[16:], a.Seq)
	binary.BigEndian.PutUint64(b[24:], a.Sequence)
	copy(b[32:], a.Input[:])
	copy(b[64:], a.Producer)
	binary.BigEndian.PutUint32(b[128:], crc32.Checksum(b[:128], castagnoli))
}

// ParseNote reads a slot; false if there is no whole note in it.
func ParseNote(b []byte) (a Attempt, ok bool) {
	if len(b) < slotSize || string(b[:4]) != noteMagic || b[4] < 1 || b[4] > 2 || b[5] > chain.MaxProducer || b[6]|b[7] != 0 {
		return a, false
	}
	name, rest := b[64:64+int(b[5])], b[64+int(b[5]):128]
	if binary.BigEndian.Uint32(b[128:]) != crc32.Checksum(b[:128], castagnoli) || !zero(rest) || !zero(b[noteSize:slotSize]) {
		return a, false
	}
	a = Attempt{
		Replay: b[4] == 2, Term: binary.BigEndian.Uint64(b[8:]), Seq: binary.BigEndian.Uint64(b[16:]),
		Sequence: binary.BigEndian.Uint64(b[24:]), Producer: string(name), Input: chain.Hash(b[32:64]),
	}
	return a, (a.Producer == "") == (a.Sequence == 0)
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Pen writes the notes of one goroutine that calls Process. A pen without a
// slot, because there are too many, writes nothing.
type Pen struct {
	b      *Book
	slot   int // -1: none
	replay bool

	mu   sync.Mutex
	open bool // a note is in the slot
	gone bool // closed, or its user was left behind
	buf  [slotSize]byte
}

// Begin is called before a run of events. It waits for a disk that hangs, as
// Note and Clear may: no daemon hangs then.
func (p *Pen) Begin() {
	if p.slot < 0 {
		return
	}
	p.b.page.Touch() // an error is the disk's, whose own watchers report it
}

// Note says which event is in Process from now on.
func (p *Pen) Note(ev chain.Event, input chain.Hash) {
	if p.slot < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	a := Attempt{p.replay, ev.Term, ev.Seq, ev.Producer, ev.Sequence, input}
	a.put(&p.buf)
	p.open = true
	p.b.page.WriteAt(p.buf[:noteSize], p.at())
}

func (p *Pen) at() int64 { return int64(p.slot) * slotSize }

// Clear says that no event is in Process.
func (p *Pen) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *Pen) clear() {
	if p.open && !p.gone {
		p.b.page.WriteAt(make([]byte, len(noteMagic)), p.at())
		p.open = false
	}
}

// Close clears the note and gives the slot back. It may be called while the
// pen's user is left behind in Process: what that does is not noted any more.
// It waits for no disk that hangs.
func (p *Pen) Close() {
	if !p.mu.TryLock() {
		return // it waits for the disk; the slot stays its own
	}
	if p.gone {
		p.mu.Unlock()
		return
	}
	done := make(chan struct{})
	end := func() {
		defer close(done)
		defer p.mu.Unlock()
		p.clear()
		p.gone = true
		p.b.release(p.slot)
	}
	if !p.open { // then no disk is needed
		end()
		return
	}
	go end()
	select {
	case <-done:
	case <-time.After(closing): // the note goes when the disk takes it
	}
}

// closing is how long the closing of a pen waits for the disk.
const closing = 100 * time.Millisecond
