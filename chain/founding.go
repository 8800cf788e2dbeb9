package chain

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Settings are limits that decide whether an event is refused. They must be
// the same on every member at every replay, so they are part of the founding
// record.
type Settings struct {
	MaxEventBytes       uint32 // an event's payload
	MaxStepBytes        uint32 // an event's payload and outputs together
	MaxProducers        uint32 // sessions kept; beyond it the oldest-used is forgotten
	ReceiptsPerProducer uint32 // receipts kept of each producer's newest events
	MaxReceipts         uint32 // receipts kept in all
	ProducerTTL         time.Duration
}

// DefaultSettings are the limits that init writes.
func DefaultSettings() Settings {
	return Settings{
		MaxEventBytes: 1 << 20, MaxStepBytes: 4 << 20, MaxProducers: 100_000,
		ReceiptsPerProducer: 1024, MaxReceipts: 262_144, ProducerTTL: 24 * time.Hour,
	}
}

// Validate reports the first limit that is out of bounds.
func (s *Settings) Validate() error {
	switch {
	case s.MaxEventBytes < 1 || s.MaxEventBytes > 1<<20:
		return fmt.Errorf("%w: max_event_bytes %d: 1 to 1048576", ErrRecord, s.MaxEventBytes)
	case s.MaxStepBytes < s.MaxEventBytes || s.MaxStepBytes > 4<<20:
		return fmt.Errorf("%w: max_step_bytes %d: max_event_bytes to 4194304", ErrRecord, s.MaxStepBytes)
	case s.MaxProducers < 1 || s.MaxProducers > 100_000:
		return fmt.Errorf("%w: max_producers %d: 1 to 100000", ErrRecord, s.MaxProducers)
	case s.ReceiptsPerProducer < 1 || s.ReceiptsPerProducer > 1024:
		return fmt.Errorf("%w: receipts_per_producer %d: 1 to 1024", ErrRecord, s.ReceiptsPerProducer)
	case s.MaxReceipts < s.ReceiptsPerProducer || s.MaxReceipts > 1<<20:
		return fmt.Errorf("%w: max_receipts %d: receipts_per_producer to 1048576", ErrRecord, s.MaxReceipts)
	case s.ProducerTTL < time.Minute || s.ProducerTTL > 366*24*time.Hour:
		return fmt.Errorf("%w: producer_ttl %v: a minute to a year", ErrRecord, s.ProducerTTL)
	}
	return nil
}

// Recovery says which operators' keys may declare a fork: Need of Keys.
type Recovery struct {
	Need uint8
	Keys []EntityID
}

// MaxRecoveryKeys bounds a recovery policy.
const MaxRecoveryKeys = 16

// Founding is the group's birth certificate. Its hash is the origin.
type Founding struct {
	Suite    uint16 // 1
	Time     int64  // unix ns
	Nonce    [32]byte
	Group    string
	Recovery Recovery
	Settings Settings
	Roster   Roster
}

// Validate reports the first rule that the record breaks.
func (f *Founding) Validate() error {
	switch {
	case f.Suite != suite:
		return fmt.Errorf("%w: suite %d, this program knows 1", ErrRecord, f.Suite)
	case f.Time < 0:
		return fmt.Errorf("%w: founded before 1970", ErrRecord)
	case !ValidName(f.Group):
		return fmt.Errorf("%w: group name %.70q: use a-z, 0-9 and -", ErrRecord, f.Group)
	case len(f.Recovery.Keys) > MaxRecoveryKeys, int(f.Recovery.Need) > len(f.Recovery.Keys):
		return fmt.Errorf("%w: recovery needs %d of %d keys", ErrRecord, f.Recovery.Need, len(f.Recovery.Keys))
	}
	if err := f.Settings.Validate(); err != nil {
		return err
	}
	return f.Roster.Validate()
}

// Marshal encodes the record.
func (f *Founding) Marshal() []byte {
	b := binary.BigEndian.AppendUint16([]byte("USG1"), f.Suite)
	b = appendU64(b, uint64(f.Time))
	b = append(b, f.Nonce[:]...)
	b = appendText(b, f.Group)
	b = append(b, f.Recovery.Need, byte(len(f.Recovery.Keys)))
	for _, k := range f.Recovery.Keys {
		b = append(b, k[:]...)
	}
	s := &f.Settings
	for _, v := range []uint32{s.MaxEventBytes, s.MaxStepBytes, s.MaxProducers, s.ReceiptsPerProducer, s.MaxReceipts} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = appendU64(b, uint64(s.ProducerTTL))
	return f.Roster.append(b)
}

// ParseFounding reads what Marshal wrote.
func ParseFounding(b []byte) (*Founding, error) {
	r := reader{b: b}
	r.magic("USG1")
	f := &Founding{Suite: r.u16(), Time: int64(r.u64()), Nonce: r.hash(), Group: r.text()}
	f.Recovery.Need = r.u8()
	for n := r.u8(); n > 0 && r.err == nil; n-- {
		f.Recovery.Keys = append(f.Recovery.Keys, r.hash())
	}
	f.Settings = Settings{
		MaxEventBytes: r.u32(), MaxStepBytes: r.u32(), MaxProducers: r.u32(), ReceiptsPerProducer: r.u32(), MaxReceipts: r.u32(),
		ProducerTTL: time.Duration(r.u64()),
	}
	f.Roster = r.roster()
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: founding: %w", ErrRecord, err)
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return f, nil
}

// Origin is the identity of the group that this record founds.
func (f *Founding) Origin() Origin { return Origin(Derive("origin", f.Marshal())) }
