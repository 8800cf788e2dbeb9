package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
)

// maxEntry bounds a log entry's data in bytes.
const maxEntry = 8 << 20

// boundary is the newest snapshot: its index and term answer for the entry at
// its index whatever the log holds there.
type boundary struct{ index, term uint64 }

// logStore checks every entry that it reads against the checksum that it
// stored in front of the entry's extensions.
type logStore struct {
	raft.LogStore
	g    *guard
	edge atomic.Pointer[boundary]
	new  recent

	taking sync.Mutex // one snapshot at a time becomes the edge
}

func sum(l *raft.Log, ext []byte) chain.Hash {
	var b [17]byte
	binary.BigEndian.PutUint64(b[:], l.Index)
	binary.BigEndian.PutUint64(b[8:], l.Term)
	b[16] = byte(l.Type)
	return chain.Derive("raft entry", b[:], binary.BigEndian.AppendUint64(nil, uint64(len(l.Data))), l.Data, ext)
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *logStore) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		if len(l.Data) > maxEntry {
			return fmt.Errorf("log entry %d has %d bytes, at most %d are stored", l.Index, len(l.Data), maxEntry)
		}
		c := *l
		h := sum(l, l.Extensions)
		c.Extensions = append(h[:len(h):len(h)], l.Extensions...)
		sealed[i] = &c
	}
	err := s.g.write("store log entries", func() error { return s.LogStore.StoreLogs(sealed) })
	if err == nil {
		s.new.add(logs)
	}
	return err
}

func (s *logStore) GetLog(index uint64, out *raft.Log) error {
	err := s.get(index, out)
	if e := s.edge.Load(); e != nil && e.index == index && (errors.Is(err, raft.ErrLogNotFound) || err == nil && out.Term != e.term) {
		*out = raft.Log{Index: index, Term: e.term, Type: raft.LogNoop}
		return nil
	}
	return s.g.read(err)
}

// get reads what the log itself has: from memory what was stored last.
func (s *logStore) get(index uint64, out *raft.Log) error {
	if s.new.get(index, out) {
		return nil
	}
	var l raft.Log
	if err := s.LogStore.GetLog(index, &l); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		return &DamageError{"log", fmt.Sprintf("entry %d: %v", index, err)}
	}
	if l.Index != index || len(l.Extensions) < 32 || sum(&l, l.Extensions[32:]) != chain.Hash(l.Extensions[:32]) {
		return &DamageError{"log", fmt.Sprintf("entry %d does not match its checksum", index)}
	}
	if l.Extensions = l.Extensions[32:]; len(l.Extensions) == 0 {
		l.Extensions = nil
	}
	*out = l
	return nil
}

// DeleteRange of an empty log, which Raft asks for after snapshotTaken has
// emptied it, is nothing.
func (s *logStore) DeleteRange(min, max uint64) error {
	s.new.remove(min, max)
	if first, err := s.FirstIndex(); err == nil && first == 0 {
		return nil
	}
	return s.g.write("delete log entries", func() error { return s.LogStore.DeleteRange(min, max) })
}

// snapshotTaken makes a snapshot the boundary. Entries of another line at and
// under it are removed, and a log that ends before it, as that of a member that
// was away for long, is emptied: what follows the snapshot would leave a hole.
// What lies above it is Raft's to truncate. A snapshot that was begun before a
// newer one was installed changes nothing.
func (s *logStore) snapshotTaken(index, term uint64) error {
	s.taking.Lock()
	defer s.taking.Unlock()
	if e := s.edge.Load(); e != nil && e.index > index {
		return nil
	}
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	var l raft.Log
	if first > 0 && last < index {
		if err := s.DeleteRange(first, last); err != nil {
			return err
		}
	} else if first > 0 && first <= index {
		if err := s.get(index, &l); err != nil {
			return err
		}
		if l.Term != term {
			if err := s.DeleteRange(first, index); err != nil {
				return err
			}
		}
	}
	s.edge.Store(&boundary{index, term})
	return nil
}

// scan reads the whole log: every entry is whole, and from the snapshot on none
// is missing. Under it a crash may have left a hole that nobody needs filled.
func (s *logStore) scan(snapshot boundary) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	if first == 0 && last == 0 {
		return nil
	}
	if first > snapshot.index+1 {
		return &DamageError{"log", fmt.Sprintf("it begins at entry %d, the newest snapshot ends at %d", first, snapshot.index)}
	}
	var l raft.Log
	term := uint64(0)
	for i := first; i <= last; i++ {
		if err := s.get(i, &l); err != nil {
			if errors.Is(err, raft.ErrLogNotFound) && i <= snapshot.index {
				continue
			}
			if errors.Is(err, raft.ErrLogNotFound) {
				return &DamageError{"log", fmt.Sprintf("entry %d is missing between %d and %d", i, first, last)}
			}
			return err
		}
		if l.Term < term {
			return &DamageError{"log", fmt.Sprintf("entry %d has term %d after %d", i, l.Term, term)}
		}
		term = l.Term
	}
	return nil
}
