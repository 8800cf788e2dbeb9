package chain

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
)

// EnvelopeSize is the size of a sealed envelope in bytes: version 1, target
// key 32, ephemeral key 32, ciphertext 48, signer 32, signature 64.
const EnvelopeSize = 1 + 32 + 32 + 32 + chacha20poly1305.Overhead + 32 + 64

// ErrEnvelope: the envelope is not one for this key, link and signer.
var ErrEnvelope = errors.New("identity envelope refused")

const envelopeVersion = 1

// SealIdentity seals a keypair's secret to another party's X25519 key, bound
// to a link: it opens only there, only for the target, and only if the one who
// opens expects this signer. A public-only keypair gives ErrReadOnly.
func SealIdentity(random io.Reader, k Keypair, target [32]byte, link *Link) ([]byte, error) {
	seed, err := k.Seed()
	if err != nil {
		return nil, err
	}
	eph, err := NewBoxKey(random)
	if err != nil {
		return nil, err
	}
	aead, nonce, err := envelopeCipher(eph.secret[:], target[:], eph.public[:], target[:])
	if err != nil {
		return nil, err
	}
	id, lb := k.ID(), link.Bytes()
	b := append([]byte{envelopeVersion}, target[:]...)
	b = append(b, eph.public[:]...)
	b = aead.Seal(b, nonce, seed, lb[:])
	b = append(b, id[:]...)
	sig, err := k.Sign(envelopeMessage(b, link))
	if err != nil {
		return nil, err
	}
	return append(b, sig...), nil
}

// OpenIdentity opens an envelope. It checks, in this order: size and version,
// the expected signer, the signature, that it was sealed to this key, the
// ciphertext with the link, and that the secret is the signer's.
func OpenIdentity(env []byte, key BoxKey, link *Link, signer EntityID) (Keypair, error) {
	if len(env) != EnvelopeSize || env[0] != envelopeVersion {
		return Keypair{}, fmt.Errorf("%w: %d bytes, version %d", ErrEnvelope, len(env), append(env, 0)[0])
	}
	body, sig := env[:EnvelopeSize-64], env[EnvelopeSize-64:]
	target, eph, sealed, id := body[1:33], body[33:65], body[65:len(body)-32], EntityID(body[len(body)-32:])
	if id != signer {
		return Keypair{}, fmt.Errorf("%w: signed by %.8s, %.8s is expected", ErrEnvelope, id, signer)
	}
	if !Verify(id, envelopeMessage(body, link), sig) {
		return Keypair{}, fmt.Errorf("%w: the signature is not the signer's for this link", ErrEnvelope)
	}
	if [32]byte(target) != key.public {
		return Keypair{}, fmt.Errorf("%w: sealed to another key", ErrEnvelope)
	}
	aead, nonce, err := envelopeCipher(key.secret[:], eph, eph, target)
	if err != nil {
		return Keypair{}, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	lb := link.Bytes()
	seed, err := aead.Open(nil, nonce, sealed, lb[:])
	if err != nil {
		return Keypair{}, fmt.Errorf("%w: it does not decrypt", ErrEnvelope)
	}
	k, err := KeypairFromSeed(seed)
	if err != nil || k.ID() != signer {
		return Keypair{}, fmt.Errorf("%w: the secret inside is not the signer's", ErrEnvelope)
	}
	return k, nil
}

func envelopeMessage(body []byte, link *Link) []byte {
	lb := link.Bytes()
	h := Derive("envelope", body, lb[:])
	return h[:]
}

func envelopeCipher(secret, other, eph, target []byte) (aeadCipher, []byte, error) {
	shared, err := curve25519.X25519(secret, other)
	if err != nil {
		return nil, nil, err
	}
	key := Derive("envelope key", shared, eph, target)
	nonce := Derive("envelope nonce", eph, target)
	aead, err := chacha20poly1305.NewX(key[:])
	return aead, nonce[:chacha20poly1305.NonceSizeX], err
}

type aeadCipher interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}
