package standby

import (
	"time"

	"github.com/understudy-ha/understudy/chain"
)

// Event is what a producer sends. With a Producer, Sequence numbers its events
// 1, 2, 3 … and the event is applied exactly once however often it is sent.
// Without one (both zero) it is applied at most once.
type Event struct {
	Producer string `json:"producer,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	Payload  []byte `json:"payload"`
}

// Receipt is the answer for a committed event: it is on the disks of a majority.
type Receipt struct {
	Producer    string     `json:"producer,omitempty"`
	Sequence    uint64     `json:"sequence,omitempty"`
	Seq         uint64     `json:"seq"`  // position of the event's link in the chain
	Term        uint64     `json:"term"` // fencing number under which it was processed
	Link        chain.Hash `json:"link"`
	FirstOutput uint64     `json:"first_output,omitempty"` // number of the first output, 0 if none
	Outputs     uint64     `json:"outputs"`                // how many outputs
	OutputData  [][]byte   `json:"output_data,omitempty"`  // the outputs; absent from a duplicate's receipt once pruned
	Rejected    bool       `json:"rejected,omitempty"`     // the daemon answered with an error; recorded, replayed alike
	Refused     bool       `json:"refused,omitempty"`      // the host refused (panic, output over the limit); recorded
	Reason      string     `json:"reason,omitempty"`
	Duplicate   bool       `json:"duplicate,omitempty"` // this is the original receipt of an earlier sending
}

// Result is the outcome of one event of a batch: a receipt or an error.
type Result struct {
	Receipt Receipt
	Err     error
}

// Answer is the reply to a query and the position it is true for.
type Answer struct {
	Data   []byte `json:"data"`
	Seq    uint64 `json:"seq"`
	Term   uint64 `json:"term"`
	Member string `json:"member"`
}

// Role is what a member does now.
type Role string

// The roles of a member.
const (
	RoleActive    Role = "active"
	RoleStandby   Role = "standby"
	RoleJoining   Role = "joining"   // catching up with the group
	RolePromoting Role = "promoting" // leader, on its way to active: see Phase
	RoleFailed    Role = "failed"    // quarantined or stopped: see Reason
)

// The five phases of a promotion, in order.
const (
	PhaseBarrier = "barrier"
	PhaseRestore = "restore"
	PhaseReplay  = "replay"
	PhaseFence   = "fence"
	PhaseActive  = "active"
)

// Quorum counts the voters that answer.
type Quorum struct {
	Healthy int `json:"healthy"`
	Voters  int `json:"voters"`
}

// MemberStatus is one row of the status table. Unknown is -1 or "?" with a Reason, never blank.
type MemberStatus struct {
	Name          string     `json:"name"`
	Role          Role       `json:"role"`
	State         string     `json:"state"` // serving, warm, restoring, unreachable, …
	Address       string     `json:"address,omitempty"`
	Term          uint64     `json:"term"`
	Seq           uint64     `json:"seq"`
	Head          chain.Hash `json:"head"`
	TrailEvents   int64      `json:"trail_events"`   // committed links it has not applied; -1 unknown
	BacklogEvents int64      `json:"backlog_events"` // events to replay at a promotion; -1 unknown
	CheckpointSeq uint64     `json:"checkpoint_seq"`
	CheckpointAge int64      `json:"checkpoint_age_ms"` // -1 never
	ContactMillis int64      `json:"contact_ms"`        // since it last answered; 0 for this member, -1 never
	// RoundTripMillis is how long its newest answer to this member took; -1 unknown.
	RoundTripMillis float64 `json:"round_trip_ms"`
	Health          string  `json:"health"`
	Saturation      float64 `json:"saturation"`
	Eligible        bool    `json:"eligible"`
	Version         string  `json:"version"`
	Reason          string  `json:"reason,omitempty"`
}

// Status is what one member knows of the group.
type Status struct {
	Group        string         `json:"group"`
	Origin       chain.Origin   `json:"origin"`
	Daemon       string         `json:"daemon"`
	Member       string         `json:"member"` // who answers
	Active       string         `json:"active"` // empty: none known
	ActiveSince  time.Time      `json:"active_since,omitzero"`
	Term         uint64         `json:"term"`
	Seq          uint64         `json:"seq"`
	Inputs       uint64         `json:"inputs"`
	Outputs      uint64         `json:"outputs"`
	Head         chain.Hash     `json:"head"`
	Role         Role           `json:"role"`
	Phase        string         `json:"phase,omitempty"`
	Reason       string         `json:"reason,omitempty"`
	Quorum       Quorum         `json:"quorum"`
	Floor        uint64         `json:"floor"`
	JournalSteps int            `json:"journal_steps"`
	JournalBytes int            `json:"journal_bytes"`
	Queue        int            `json:"queue"`
	IO           IO             `json:"io"`
	Members      []MemberStatus `json:"members"`
	Notes        []string       `json:"notes,omitempty"` // footers that are true now, each with its remedy
}

// IO counts what a member did to its disk and its network since it was opened.
type IO struct {
	Syncs         uint64 `json:"fsyncs"`         // of its own files and of Raft's log and votes
	WrittenBytes  uint64 `json:"written_bytes"`  // to them; the log of the store boltdb is not counted
	SentBytes     uint64 `json:"sent_bytes"`     // to the other members, as on the wire
	ReceivedBytes uint64 `json:"received_bytes"` // from them
}

// Promotion is one row of the history: a handoff in the chain.
type Promotion struct {
	Term          uint64             `json:"term"`
	Seq           uint64             `json:"seq"` // position of the HANDOFF link
	Time          time.Time          `json:"time"`
	From          string             `json:"from,omitempty"`
	To            string             `json:"to"`
	Reason        string             `json:"reason"`
	CheckpointSeq uint64             `json:"checkpoint_seq"`
	Replayed      uint64             `json:"replayed"`
	PhasesMillis  map[string]float64 `json:"phases_ms,omitempty"` // known to the members that ran then and since
}

// Phase is a named part of an operation and how long it took.
type Phase struct {
	Name   string  `json:"name"`
	Millis float64 `json:"ms"`
}

// SyncResult says what a sync on demand did.
type SyncResult struct {
	Seq      uint64            `json:"seq"` // covered position
	Manifest chain.Hash        `json:"manifest"`
	Bytes    uint64            `json:"bytes"` // size of the state
	Members  map[string]string `json:"members"`
}

// SwitchoverResult says what a planned switchover did.
type SwitchoverResult struct {
	From              string  `json:"from"`
	To                string  `json:"to"`
	Term              uint64  `json:"term"`
	Phases            []Phase `json:"phases"`
	UnavailableMillis float64 `json:"unavailable_ms"` // intake closed until the new active was seen serving
}
