package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Stable is a raft.StableStore for the few small values that Raft has: all of
// them in one sector, written alternately to the one and the other of two
// pages, one fdatasync each. A sector is written whole or not at all, so both
// pages must be whole and one write apart at any time: anything else is damage,
// and an older vote is never taken for the newest because that cannot be read.
type Stable struct {
	mu     sync.Mutex
	file   durable.File
	n      uint64 // writes
	values map[string]string
	failed error
}

// sum (32), number of the write (8), then the values.
const stableHead = 40

// errNotFound has the text by which Raft knows that a key is not there.
var errNotFound = errors.New("not found")

// OpenStable opens the store, or makes it unless it must exist: a member that
// has forgotten its vote could vote twice. Close it.
func OpenStable(fs durable.FS, name string, o Options) (*Stable, error) {
	data, err := fs.ReadFile(name, 2*pageSize)
	if errors.Is(err, os.ErrNotExist) && o.Existing {
		return nil, damaged(name, "it is gone")
	}
	if errors.Is(err, os.ErrNotExist) {
		data = make([]byte, 2*pageSize)
		copy(data, sealStable(2, nil))
		copy(data[pageSize:], sealStable(1, nil))
		err = fs.WriteFile(name, data)
	}
	if err != nil {
		return nil, err
	}
	if len(data) != 2*pageSize {
		return nil, damaged(name, "it has %d bytes instead of %d", len(data), 2*pageSize)
	}
	s := &Stable{}
	for i := range uint64(2) {
		n, values, ok := parseStable(data[i*pageSize:][:sectorSize])
		if !ok || n%2 != i || s.n > 0 && n != s.n+1 && n+1 != s.n {
			return nil, damaged(name, "page %d is not as it was written", i)
		}
		if n > s.n {
			s.n, s.values = n, values
		}
	}
	if s.file, err = fs.Open(name, false); err != nil {
		return nil, err
	}
	// What an earlier process left in memory counts from now on. If its fsync
	// failed the kernel calls it clean: it must be written again.
	newest := int64(s.n%2) * pageSize
	_, err = s.file.WriteAt(data[newest:newest+sectorSize], newest)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func sealStable(n uint64, values map[string]string) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		b = append(append(b, byte(len(k))), k...)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(values[k]))), values[k]...)
	}
	if len(b) > sectorSize-32 {
		return nil
	}
	b = append(b, make([]byte, sectorSize-32-len(b))...)
	sum := chain.Derive("raft stable file", b)
	return append(sum[:], b...)
}

func parseStable(b []byte) (n uint64, values map[string]string, ok bool) {
	if chain.Derive("raft stable file", b[32:]) != chain.Hash(b[:32]) {
		return 0, nil, false
	}
	values = make(map[string]string)
	n = binary.BigEndian.Uint64(b[32:])
	take := func(n int) string {
		n = min(n, len(b))
		v := string(b[:n])
		b = b[n:]
		return v
	}
	for b = b[stableHead:]; len(b) > 3 && b[0] > 0; {
		k := take(1 + int(b[0]))[1:]
		if len(b) < 2 {
			break
		}
		values[k] = take(2 + int(binary.BigEndian.Uint16(b)))[2:]
	}
	return n, values, true
}

// Set stores a value, durably, with all that were stored before.
func (s *Stable) Set(key, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	values := maps.Clone(s.values)
	values[string(key)] = string(val)
	b := sealStable(s.n+1, values)
	if b == nil || len(key) == 0 || len(key) > 255 {
		return fmt.Errorf("stable store: no room for %q with %d bytes", key, len(val))
	}
	_, err := s.file.WriteAt(b, int64((s.n+1)%2)*pageSize)
	if err == nil {
		err = s.file.Datasync()
	}
	if err != nil {
		s.failed = err
		return err
	}
	s.n, s.values = s.n+1, values
	return nil
}

// Get reads a value.
func (s *Stable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return []byte(v), nil
}

// SetUint64 stores a number.
func (s *Stable) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 reads a number.
func (s *Stable) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("stable store: %q has %d bytes, not 8", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// Close closes the file.
func (s *Stable) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = errClosed
	}
	return s.file.Close()
}
