package continuity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/understudy-ha/understudy/chain"
)

// TreeHead is what a signed tree head says: the history's size and root, and
// which members vouch for it.
type TreeHead struct {
	Size    uint64
	Root    chain.Hash
	Members []string // whose signatures were checked, sorted as in the note
}

// MaxSize bounds the links of a history; the arithmetic of trees ends there.
const MaxSize = 1 << 62

// MaxTreeHead bounds a signed tree head in bytes.
const MaxTreeHead = 8 << 10

// originLine names the log in a tree head.
func originLine(group string, o chain.Origin) string { return group + "/" + o.String() }

// keyHash is the note format's id of an Ed25519 key under a name.
func keyHash(name string, key chain.EntityID) uint32 {
	h := sha256.Sum256(append([]byte(name+"\n\x01"), key[:]...))
	return binary.BigEndian.Uint32(h[:])
}

type signer struct {
	name string
	key  chain.Keypair
}

func (s signer) Name() string                    { return s.name }
func (s signer) KeyHash() uint32                 { return keyHash(s.name, s.key.ID()) }
func (s signer) Sign(msg []byte) ([]byte, error) { return s.key.Sign(msg) }

type verifier struct {
	name string
	key  chain.EntityID
}

func (v verifier) Name() string                { return v.name }
func (v verifier) KeyHash() uint32             { return keyHash(v.name, v.key) }
func (v verifier) Verify(msg, sig []byte) bool { return chain.Verify(v.key, msg, sig) }

// SignTreeHead makes a C2SP checkpoint note over a history, signed with a
// member's log key.
func SignTreeHead(group string, o chain.Origin, size uint64, root chain.Hash, key chain.Keypair) ([]byte, error) {
	name := originLine(group, o)
	text := fmt.Sprintf("%s\n%d\n%s\n", name, size, base64.StdEncoding.EncodeToString(root[:]))
	return note.Sign(&note.Note{Text: text}, signer{name, key})
}

// ErrTreeHead: the bytes are not a tree head that a member of the group signed.
var ErrTreeHead = errors.New("tree head refused")

// OpenTreeHead checks a signed tree head of a group. Every signature on it must
// be one of a member's log key, and each member's at most once.
func OpenTreeHead(b []byte, f *chain.Founding) (TreeHead, error) {
	if len(b) > MaxTreeHead {
		return TreeHead{}, fmt.Errorf("%w: %d bytes", ErrTreeHead, len(b))
	}
	name := originLine(f.Group, f.Origin())
	var vs []note.Verifier
	members := make(map[uint32]string)
	for _, m := range f.Roster.Members {
		v := verifier{name, m.LogKey}
		vs = append(vs, v)
		members[v.KeyHash()] = m.Name
	}
	n, err := note.Open(b, note.VerifierList(vs...))
	if err != nil {
		return TreeHead{}, fmt.Errorf("%w: %w", ErrTreeHead, err)
	}
	var h TreeHead
	back := n.Text + "\n"
	for _, s := range n.Sigs {
		sig, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil {
			return TreeHead{}, fmt.Errorf("%w: %w", ErrTreeHead, err)
		}
		back += fmt.Sprintf("— %s %s\n", s.Name, base64.StdEncoding.EncodeToString(sig))
		h.Members = append(h.Members, members[s.Hash])
	}
	if back != string(b) {
		return TreeHead{}, fmt.Errorf("%w: it has signatures of strangers, or is not in its one right form", ErrTreeHead)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != name {
		return TreeHead{}, fmt.Errorf("%w: it is of %.100q", ErrTreeHead, lines[0])
	}
	if h.Size, err = parseNumber(lines[1]); err != nil {
		return TreeHead{}, fmt.Errorf("%w: %w", ErrTreeHead, err)
	}
	if h.Root, err = parseHash(lines[2]); err != nil || h.Size == 0 || h.Size > MaxSize {
		return TreeHead{}, fmt.Errorf("%w: size %d, root %.60q", ErrTreeHead, h.Size, lines[2])
	}
	return h, nil
}
