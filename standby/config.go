package standby

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/env"
)

// Keys are a member's private keys. They never leave its machine.
type Keys struct {
	Log    chain.Keypair // signs handoffs, tree heads and the peer handshake
	Cosign chain.Keypair // signs cosignatures
	Box    chain.BoxKey  // opens what is sealed to this member
}

// VerifySync says which standbys replay the journal before they restore a checkpoint.
type VerifySync string

// Who verifies a sync. Off is possible and visible in the status: then a
// snapshot that does not restore faithfully is found at the failover. It is for
// all members or none: a member with off vouches for what it has restored.
const (
	VerifyTurns VerifySync = "turns"
	VerifyAll   VerifySync = "all"
	VerifyOff   VerifySync = "off"
)

// RaftStore is what keeps the Raft log and the votes on disk.
type RaftStore string

// The Raft stores. A data directory that has the other one is migrated at the start.
const (
	RaftStoreFile RaftStore = "file"   // append-only segments of our own
	RaftStoreBolt RaftStore = "boltdb" // raft-boltdb
)

// Config says who this member is, what it runs and how patient it is. The zero
// value of each field below "Timing" takes the default named with it.
type Config struct {
	Founding *chain.Founding    // the group's founding record: who the members are
	Member   string             // this member's name in the founding roster
	Keys     Keys               // must match the roster
	Dir      string             // data directory, owned by this member alone
	New      func() host.Daemon // makes a fresh daemon; called at each restore
	Listen   string             // address for the other members, host:port
	Peers    map[string]string  // member name -> host:port, all members
	TLSDir   string             // the group CA's certificate and this member's certificate and key

	// BootstrapMark is a file that allows the first start to seed Raft from the
	// founding record; it is removed then. Without it an empty data directory is
	// refused: it is a wiped disk, not a new member.
	BootstrapMark string

	Capabilities host.Capabilities // what this machine offers; the daemon's requirements decide
	NeverActive  bool              // never promote this member
	// NoCrashDetection leaves it to Raft's timeouts to notice that the active's
	// process is gone. Else the end of its connections and a refused dial, seen
	// by a majority, start an election at once.
	NoCrashDetection bool
	Store            RaftStore    // file
	Hot              bool         // standby applies each committed step at once instead of at the sync
	Logger           *slog.Logger // default: discard
	Version          string       // shown in the status

	// Timing.
	Heartbeat        time.Duration // 1 s: silence after which a standby calls an election
	Election         time.Duration // 1 s: how long an election may take
	Lease            time.Duration // 500 ms: silence of the others after which the active stops
	SyncInterval     time.Duration // 5 s between checkpoints
	SignInterval     time.Duration // 500 ms between signed tree heads
	StallTimeout     time.Duration // 2 s without progress of disk or daemon: step down; five times that: stop
	BarrierTimeout   time.Duration // 5 s for the barrier and confirmation of a promotion
	PromotionStall   time.Duration // 5 s without progress of a promotion: give leadership away
	CommitTimeout    time.Duration // 10 s for one entry to commit; then its events are uncertain
	MaxClockSkew     time.Duration // 5 s that this member's wall clock may be off from the others'; beyond: not promoted
	VerifySync       VerifySync    // turns
	OutputsAge       time.Duration // 24 h that outputs are kept on each member's disk
	OutputsBytes     int64         // 1 GiB of outputs kept
	QueueEvents      int           // 32,768 events without an answer; then Busy
	QueueBytes       int           // 64 MiB of events without an answer; then Busy
	EntriesInFlight  int           // 16 entries proposed and not committed
	EntryBytes       int           // 256 KiB: target size of an entry
	EntrySteps       int           // 1,024 steps in an entry
	MaxJournalSteps  int           // 500,000 steps force a checkpoint, a quarter since the newest one makes the next; at twice that: Busy
	MaxJournalBytes  int           // 96 MiB likewise; at 4/3 of that: Busy
	SnapshotInterval time.Duration // 10 s at least between two Raft snapshots of a member
	TrailingLogs     uint64        // 10,240 entries kept behind a Raft snapshot

	// Env replaces the outside world in simulations. Nil means the real one.
	Env *env.Env

	// Faults are what a drill does to its own members. Nil means none.
	Faults *env.Faults
}

func (c *Config) setDefaults() {
	def(&c.Heartbeat, time.Second)
	def(&c.Election, time.Second)
	def(&c.Lease, 500*time.Millisecond)
	def(&c.SyncInterval, 5*time.Second)
	def(&c.SignInterval, 500*time.Millisecond)
	def(&c.StallTimeout, 2*time.Second)
	def(&c.BarrierTimeout, 5*time.Second)
	def(&c.PromotionStall, 5*time.Second)
	def(&c.CommitTimeout, 10*time.Second)
	def(&c.MaxClockSkew, 5*time.Second)
	def(&c.Store, RaftStoreFile)
	def(&c.VerifySync, VerifyTurns)
	def(&c.OutputsAge, 24*time.Hour)
	def(&c.OutputsBytes, 1<<30)
	def(&c.QueueEvents, 32_768)
	def(&c.QueueBytes, 64<<20)
	def(&c.EntriesInFlight, 16)
	def(&c.EntryBytes, 256<<10)
	def(&c.EntrySteps, 1024)
	def(&c.MaxJournalSteps, 500_000)
	def(&c.MaxJournalBytes, 96<<20)
	def(&c.SnapshotInterval, 10*time.Second)
	def(&c.TrailingLogs, 10_240)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// validate reports every problem at once.
func (c *Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Founding == nil {
		return errors.New("standby: Config.Founding is not set: load the group's founding record")
	}
	if c.New == nil {
		bad("standby: Config.New is not set: it must make a fresh daemon")
	}
	me, ok := c.Founding.Roster.Member(c.Member)
	switch {
	case !ok:
		bad("standby: %q is not a member of group %q: use a name of its founding roster", c.Member, c.Founding.Group)
	case c.Keys.Log.ReadOnly() || c.Keys.Log.ID() != me.LogKey:
		bad("standby: the log key is not the one that the roster has for %q: use this member's own keys", c.Member)
	}
	if c.Env == nil {
		if c.Dir == "" {
			bad("standby: Config.Dir is not set: name this member's data directory")
		}
		for _, m := range c.Founding.Roster.Members {
			if c.Peers[m.Name] == "" {
				bad("standby: no address for member %q: add it to Config.Peers", m.Name)
			}
		}
	}
	for name := range c.Peers {
		if _, ok := c.Founding.Roster.Member(name); !ok {
			bad("standby: Config.Peers names %q, which is not in the founding roster", name)
		}
	}
	if c.EntrySteps > fsm.MaxSteps || c.EntryBytes > fsm.MaxEntry/4 {
		bad("standby: entries of %d steps and %d bytes: at most %d and %d can be read", c.EntrySteps, c.EntryBytes, fsm.MaxSteps, fsm.MaxEntry/4)
	}
	if most := int(c.Founding.Settings.MaxEventBytes); c.QueueBytes < most+pendingOverhead {
		bad("standby: queue_bytes is %d: an event of %d bytes, which the group allows, would never find room", c.QueueBytes, most)
	}
	if c.Lease > c.Heartbeat {
		bad("standby: lease %v is longer than heartbeat %v: at most half of it is sound", c.Lease, c.Heartbeat)
	}
	switch c.VerifySync {
	case VerifyTurns, VerifyAll, VerifyOff:
	default:
		bad("standby: verify_sync is %q: use turns, all or off", c.VerifySync)
	}
	switch c.Store {
	case RaftStoreFile, RaftStoreBolt:
	default:
		bad("standby: raft_store is %q: use %s or %s", c.Store, RaftStoreFile, RaftStoreBolt)
	}
	for name, d := range map[string]time.Duration{
		"heartbeat": c.Heartbeat, "election": c.Election, "lease": c.Lease, "sync_interval": c.SyncInterval,
		"sign_interval": c.SignInterval, "stall_timeout": c.StallTimeout, "max_clock_skew": c.MaxClockSkew, "promotion_stall": c.PromotionStall,
	} {
		if d < 5*time.Millisecond || d > 24*time.Hour {
			bad("standby: %s is %v: use 5ms to 24h", name, d)
		}
	}
	return errors.Join(errs...)
}
