package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MemberFlags say what a member does for the group.
type MemberFlags uint8

// The duties of a member.
const (
	Voter    MemberFlags = 1 // votes and can be promoted
	Cosigner MemberFlags = 2 // cosigns tree heads
	Witness  MemberFlags = 4 // votes and stores checkpoints, runs no daemon
)

// MaxMembers bounds a roster.
const MaxMembers = 9

// RosterMember is one member's name, duties and public keys.
type RosterMember struct {
	Name      string // up to 64 bytes of a-z, 0-9 and -
	Flags     MemberFlags
	LogKey    EntityID // signs handoffs, tree heads and the peer handshake
	CosignKey EntityID // signs cosignatures
	BoxKey    [32]byte // X25519, for secrets
}

// Roster is who the members are, sorted by name.
type Roster struct {
	Threshold uint8 // cosigners whose signatures a verifier should ask for
	Members   []RosterMember
}

// ErrRecord: the bytes are not those of a record.
var ErrRecord = errors.New("malformed record")

// Member finds a member by name.
func (r *Roster) Member(name string) (RosterMember, bool) {
	for _, m := range r.Members {
		if m.Name == name {
			return m, true
		}
	}
	return RosterMember{}, false
}

// ValidName says whether s can name a group or member: 1 to 64 bytes of a-z,
// 0-9 and -, not beginning or ending with -.
func ValidName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Validate reports the first rule that the roster breaks.
func (r *Roster) Validate() error {
	if len(r.Members) < 1 || len(r.Members) > MaxMembers {
		return fmt.Errorf("%w: a roster has 1 to %d members, not %d", ErrRecord, MaxMembers, len(r.Members))
	}
	keys := make(map[EntityID]bool)
	voters := 0
	for i, m := range r.Members {
		switch {
		case !ValidName(m.Name):
			return fmt.Errorf("%w: member name %.70q: use a-z, 0-9 and -", ErrRecord, m.Name)
		case i > 0 && r.Members[i-1].Name >= m.Name:
			return fmt.Errorf("%w: members are not sorted, or %q is there twice", ErrRecord, m.Name)
		case m.Flags&^(Voter|Cosigner|Witness) != 0:
			return fmt.Errorf("%w: member %q has flags %#x", ErrRecord, m.Name, uint8(m.Flags))
		case keys[m.LogKey] || keys[m.CosignKey] || m.LogKey == m.CosignKey:
			return fmt.Errorf("%w: member %q shares a key", ErrRecord, m.Name)
		}
		keys[m.LogKey], keys[m.CosignKey] = true, true
		if m.Flags&Voter != 0 {
			voters++
		}
	}
	if voters == 0 || int(r.Threshold) > len(r.Members) {
		return fmt.Errorf("%w: %d voters, threshold %d", ErrRecord, voters, r.Threshold)
	}
	return nil
}

// Marshal encodes the roster.
func (r *Roster) Marshal() []byte { return r.append([]byte("USR1")) }

func (r *Roster) append(b []byte) []byte {
	b = append(b, r.Threshold, byte(len(r.Members)))
	for _, m := range r.Members {
		b = append(appendText(b, m.Name), byte(m.Flags))
		b = append(b, m.LogKey[:]...)
		b = append(b, m.CosignKey[:]...)
		b = append(b, m.BoxKey[:]...)
	}
	return b
}

func (r *reader) roster() (ro Roster) {
	ro.Threshold = r.u8()
	n := int(r.u8())
	for i := 0; i < n && i <= MaxMembers && r.err == nil; i++ {
		ro.Members = append(ro.Members, RosterMember{Name: r.text(), Flags: MemberFlags(r.u8()), LogKey: r.hash(), CosignKey: r.hash(), BoxKey: r.hash()})
	}
	return ro
}

// ParseRoster reads what Marshal wrote.
func ParseRoster(b []byte) (*Roster, error) {
	r := reader{b: b}
	r.magic("USR1")
	ro := r.roster()
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: roster: %w", ErrRecord, err)
	}
	return &ro, ro.Validate()
}

// Digest identifies the roster.
func (r *Roster) Digest() Hash { return Derive("roster", r.Marshal()) }

// Sort puts the members in order.
func (r *Roster) Sort() {
	slices.SortFunc(r.Members, func(a, b RosterMember) int { return strings.Compare(a.Name, b.Name) })
}

func appendU64(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}
