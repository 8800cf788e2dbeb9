package chain

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/curve25519"
)

// EntityID is an Ed25519 public key: who somebody is.
type EntityID [32]byte

// String is 64 hexadecimal digits.
func (id EntityID) String() string { return hex.EncodeToString(id[:]) }

// Verify says whether sig is id's signature of msg.
func Verify(id EntityID, msg, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(id[:], msg, sig)
}

// ErrReadOnly: the keypair has only its public half, so it cannot sign.
var ErrReadOnly = errors.New("the keypair is public-only and cannot sign")

// Keypair is an Ed25519 identity. It may be public-only. Printing it shows
// the public half only.
type Keypair struct {
	id   EntityID
	priv ed25519.PrivateKey // nil if public-only
}

// NewKeypair makes a keypair from a source of randomness.
func NewKeypair(random io.Reader) (Keypair, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Keypair{}, fmt.Errorf("no randomness for a key: %w", err)
	}
	return KeypairFromSeed(seed)
}

// KeypairFromSeed is the keypair of a 32-byte seed.
func KeypairFromSeed(seed []byte) (Keypair, error) {
	if len(seed) != ed25519.SeedSize {
		return Keypair{}, fmt.Errorf("an Ed25519 seed has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	priv := ed25519.NewKeyFromSeed(seed)
	return Keypair{id: EntityID(priv.Public().(ed25519.PublicKey)), priv: priv}, nil
}

// PublicOnly is the keypair that can only be recognised, not sign.
func PublicOnly(id EntityID) Keypair { return Keypair{id: id} }

// ID is the public half.
func (k Keypair) ID() EntityID { return k.id }

// ReadOnly says that the private half is not here.
func (k Keypair) ReadOnly() bool { return k.priv == nil }

// Sign signs a message, or fails with ErrReadOnly.
func (k Keypair) Sign(msg []byte) ([]byte, error) {
	if k.priv == nil {
		return nil, ErrReadOnly
	}
	return ed25519.Sign(k.priv, msg), nil
}

// Seed is the secret from which the keypair follows, or ErrReadOnly.
func (k Keypair) Seed() ([]byte, error) {
	if k.priv == nil {
		return nil, ErrReadOnly
	}
	return append([]byte(nil), k.priv.Seed()...), nil
}

// String names the public half and never the secret.
func (k Keypair) String() string {
	if k.priv == nil {
		return "public " + k.id.String()
	}
	return "keypair " + k.id.String()
}

// Format keeps every verb from printing the secret.
func (k Keypair) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// BoxKey is an X25519 key to which secrets can be sealed. Printing it shows
// the public half only.
type BoxKey struct{ secret, public [32]byte }

// NewBoxKey makes a key from a source of randomness.
func NewBoxKey(random io.Reader) (BoxKey, error) {
	var secret [32]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return BoxKey{}, fmt.Errorf("no randomness for a key: %w", err)
	}
	return BoxKeyFromSecret(secret[:])
}

// BoxKeyFromSecret is the key of a 32-byte secret.
func BoxKeyFromSecret(secret []byte) (BoxKey, error) {
	if len(secret) != 32 {
		return BoxKey{}, fmt.Errorf("an X25519 secret has 32 bytes, not %d", len(secret))
	}
	pub, err := curve25519.X25519(secret, curve25519.Basepoint)
	if err != nil {
		return BoxKey{}, err
	}
	return BoxKey{secret: [32]byte(secret), public: [32]byte(pub)}, nil
}

// Public is the half to which others seal.
func (k BoxKey) Public() [32]byte { return k.public }

// Secret is the private half, for its key file.
func (k BoxKey) Secret() []byte { return append([]byte(nil), k.secret[:]...) }

// String names the public half and never the secret.
func (k BoxKey) String() string { return "box key " + hex.EncodeToString(k.public[:]) }

// Format keeps every verb from printing the secret.
func (k BoxKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }
