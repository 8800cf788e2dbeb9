// Package env holds what a member takes from the world: a file system, a
// network, Raft's stores and the wall clock. Production uses the real ones; a
// simulation puts in-memory ones here and changes nothing else of the product.
package env

import (
	"log/slog"
	"time"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/peernet"
	"github.com/understudy-ha/understudy/internal/raftstore"
)

// Env replaces the outside world of one member. Every field but Now must be set.
type Env struct {
	// FS is the member's data directory.
	FS durable.FS
	// Network connects the member under the identity to the other members; what
	// it must remember of them goes to memory.
	Network func(id peernet.Identity, memory durable.FS, log *slog.Logger) (peernet.Network, error)
	// Stores opens the member's Raft stores, already hardened.
	Stores func(o raftstore.Options) (*raftstore.Stores, error)
	// Now is the wall clock. Nil means the machine's.
	Now func() time.Time
}
