package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/understudy-ha/understudy/chain"
)

// Raft's names for what it stores.
var (
	keyTerm     = "CurrentTerm"
	keyVoteTerm = "LastVoteTerm"
	keyVoteCand = "LastVoteCand"
)

// keyVote is our name for a vote, term and candidate in one.
const keyVote = "Vote"

// stableStore stores values with checksums, and a vote in one write.
type stableStore struct {
	inner raft.StableStore
	g     *guard
	mu    sync.Mutex
	term  uint64 // of a vote whose candidate has not come yet

	running atomic.Bool // Raft has started
}

// errNotFound has the text by which Raft knows that a key is not there.
var errNotFound = errors.New("not found")

func (s *stableStore) put(key string, val []byte) error {
	d := chain.Derive("raft stable", []byte(key), []byte{0}, val)
	return s.g.write("store "+key, func() error { return s.inner.Set([]byte(key), append(d[:], val...)) })
}

func (s *stableStore) get(key string) ([]byte, error) {
	b, err := s.inner.Get([]byte(key))
	if err != nil {
		if err.Error() == errNotFound.Error() {
			return nil, errNotFound
		}
		return nil, err
	}
	if len(b) < 32 || chain.Derive("raft stable", []byte(key), []byte{0}, b[32:]) != chain.Hash(b[:32]) {
		return nil, s.g.read(&DamageError{"stable store", fmt.Sprintf("%s does not match its checksum", key)})
	}
	return b[32:], nil
}

func (s *stableStore) Set(key, val []byte) error {
	if string(key) != keyVoteCand {
		return s.put(string(key), val)
	}
	s.mu.Lock()
	term := s.term
	s.mu.Unlock()
	return s.put(keyVote, append(binary.BigEndian.AppendUint64(nil, term), val...))
}

func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) != keyVoteCand {
		return s.get(string(key))
	}
	b, err := s.get(keyVote)
	if err != nil || len(b) < 8 {
		return nil, err
	}
	return b[8:], nil
}

// SetUint64 ends the calling goroutine when a running Raft's term cannot be
// stored: Raft would panic, which takes down the whole process of an embedder,
// and must not go on. Its main goroutine cleans up as it does when it stops;
// the member learns of the failure from OnFatal.
func (s *stableStore) SetUint64(key []byte, val uint64) error {
	if string(key) != keyVoteTerm {
		if now, err := s.GetUint64(key); err == nil && now == val {
			return nil // as Raft does at its start, where it would panic as well
		}
		err := s.put(string(key), binary.BigEndian.AppendUint64(nil, val))
		if err != nil && string(key) == keyTerm && s.running.Load() {
			runtime.Goexit()
		}
		return err
	}
	s.mu.Lock()
	s.term = val
	s.mu.Unlock()
	return nil
}

func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	name := string(key)
	if name == keyVoteTerm {
		name = keyVote
	}
	b, err := s.get(name)
	if err != nil {
		return 0, err
	}
	if len(b) < 8 {
		return 0, &DamageError{"stable store", fmt.Sprintf("%s has %d bytes", key, len(b))}
	}
	return binary.BigEndian.Uint64(b), nil
}

// scan reads all that Raft may have stored.
func (s *stableStore) scan() error {
	for _, k := range []string{keyTerm, keyVote} {
		if _, err := s.get(k); err != nil && !errors.Is(err, errNotFound) {
			return err
		}
	}
	return nil
}

// covers compares the term with what is in the log and in the newest snapshot:
// Raft stores a term before anything of it, so an older one is of an older disk,
// and so is the vote.
func (s *stableStore) covers(logs *logStore, edge boundary) error {
	term, err := s.GetUint64([]byte(keyTerm))
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	newest := edge.term
	if last > 0 {
		var l raft.Log
		if err := logs.get(last, &l); err != nil {
			return err
		}
		newest = max(newest, l.Term)
	}
	if term < newest {
		return &DamageError{"stable store", fmt.Sprintf("it is in term %d, the log and the snapshots are in term %d", term, newest)}
	}
	return nil
}
