// Package peernet connects the members of a group with each other and with
// nobody else.
//
// A [Network] dials members by name and accepts them on two protocols, "raft"
// and "rpc". Before a byte of either is passed on, both sides say who they are
// in a hello: group, origin, member, the random id of their store and how
// often it was started, signed with the member's log key over a value that is
// bound to this very connection. Every member remembers, durably, the store id
// and the newest start of every other: a disk that was wiped or put back to an
// earlier day is refused under its old name. (One that was copied while it was
// in use, and put back, looks like one that crashed then.)
//
// [Listen] is the real one, over mutual TLS 1.3. A [Switch] makes networks in
// memory for simulations, with the same hello and with faults.
package peernet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// Protocols that a connection can carry.
const (
	Raft = "raft"
	RPC  = "rpc"
)

// Identity is who a member is in the hello.
type Identity struct {
	Group   string
	Origin  chain.Origin
	Member  string
	StoreID [16]byte // random, made with the store
	Starts  uint64   // rises at every start of the store
	Marks   Marks    // by which one start is told from another with the same number
}

// Marks are random numbers, one for each of a store's newest starts, newest
// first. A store that was put back to an earlier state and started again has
// another mark where its peers remember one, however often it is started.
type Marks [64][8]byte

// Next are the marks after another start.
func (m *Marks) Next() Marks {
	var next Marks
	copy(next[1:], m[:])
	rand.Read(next[0][:])
	return next
}

// Conn is an authenticated connection.
type Conn interface {
	net.Conn
	Peer() Identity
	// Dead says that an idle connection has ended, as far as that can be known
	// without using it.
	Dead() bool
}

// Network is one member's access to the others.
type Network interface {
	// Listener accepts connections of a protocol; each is a Conn. Closing it
	// ends only its own Accept; asking again opens it again.
	Listener(proto string) net.Listener
	// Dial connects to a member.
	Dial(ctx context.Context, member, proto string) (Conn, error)
	// Lost names members whose connection ended from the other side: a hint that
	// the process may be gone. Names are dropped when nobody reads them.
	Lost() <-chan string
	// Gone says whether nothing listens at a member's address any more: its
	// process has ended and its machine has not. Silence is no proof.
	Gone(ctx context.Context, member string) bool
	// Refusals are the members that were refused lately, and why.
	Refusals() []Refusal
	// Close ends all connections and listeners.
	Close() error
}

// ErrRefused: the other side does not talk to this member, or this one not to it.
var ErrRefused = errors.New("connection refused by the hello")

// RefusedError says who refused whom and why; both sides get it.
type RefusedError struct{ By, Reason string }

func (e *RefusedError) Error() string { return fmt.Sprintf("%s refuses: %s", e.By, e.Reason) }

// Is makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Refusal is a refused connection, for the status.
type Refusal struct {
	Member string // as it called itself; not proven
	By     string
	Reason string
	At     time.Time
}

// String is for people.
func (r Refusal) String() string { return fmt.Sprintf("%s by %s: %s", r.Member, r.By, r.Reason) }
