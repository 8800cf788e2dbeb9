package durable

import (
	"bytes"
	"fmt"

	"github.com/understudy-ha/understudy/chain"
)

const sealedMagic = "USF1"

// WriteSealed writes a small file, atomically and durably, with a digest over
// its name and content.
func WriteSealed(fs FS, name string, payload []byte) error {
	d := chain.Derive("file", []byte(name), []byte{0}, payload)
	return fs.WriteFile(name, bytes.Join([][]byte{[]byte(sealedMagic), d[:], payload}, nil))
}

// ReadSealed reads what WriteSealed wrote; [ErrDamaged] if it is not that.
func ReadSealed(fs FS, name string, max int64) ([]byte, error) {
	b, err := fs.ReadFile(name, max+36)
	if err != nil {
		return nil, err
	}
	if len(b) < 36 || string(b[:4]) != sealedMagic || chain.Derive("file", []byte(name), []byte{0}, b[36:]) != chain.Hash(b[4:36]) {
		return nil, fmt.Errorf("file %s: %w", name, ErrDamaged)
	}
	return b[36:], nil
}
