package fsm

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Machine adapts a State to Raft. Apply, Snapshot and Restore are Raft's to
// call, from one goroutine; Read is for everybody else.
type Machine struct {
	mu        sync.RWMutex // Raft's goroutine writes, readers read
	state     *State
	onApply   func(*Result)
	onRestore func(*State)
}

// NewMachine begins at a state. onApply is called after each entry and
// onRestore after a snapshot was taken over, by Raft's goroutine, with nothing
// locked; they must not wait. Either may be nil.
func NewMachine(s *State, onApply func(*Result), onRestore func(*State)) *Machine {
	return &Machine{state: s, onApply: onApply, onRestore: onRestore}
}

// Apply takes the next committed entry; the answer is a *Result.
func (m *Machine) Apply(l *raft.Log) any {
	m.mu.Lock()
	res := m.state.Apply(l.Index, l.Term, l.Data)
	m.mu.Unlock()
	if m.onApply != nil {
		m.onApply(res)
	}
	return res
}

// StoreConfiguration takes note of membership entries, which count as applied.
func (m *Machine) StoreConfiguration(index uint64, _ raft.Configuration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.index = max(m.state.index, index)
}

// Read lets f look at the state while nothing changes. f must not keep it.
func (m *Machine) Read(f func(*State)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(m.state)
}

// Snapshot copies the state.
func (m *Machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return &persister{m.state.Snapshot()}, nil
}

// Restore replaces the state by a snapshot's, all or nothing.
func (m *Machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	m.mu.RLock()
	f := m.state.founding
	m.mu.RUnlock()
	s, err := ReadState(r, f)
	if err != nil {
		return fmt.Errorf("raft snapshot: %w", err)
	}
	m.mu.Lock()
	m.state = s
	m.mu.Unlock()
	if m.onRestore != nil {
		m.onRestore(s)
	}
	return nil
}

type persister struct{ image *Image }

// Persist writes the image to Raft's sink.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	if _, err := p.image.WriteTo(sink); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release has nothing to let go of.
func (p *persister) Release() {}
