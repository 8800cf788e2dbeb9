package config

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/pki"
	"github.com/understudy-ha/understudy/standby"
)

// Key files: a line that says what it is, and 64 hexadecimal digits.
const (
	logKeyFile    = "log.key"
	cosignKeyFile = "cosign.key"
	boxKeyFile    = "box.key"
)

func keyHeader(name string) string {
	return "understudy " + strings.TrimSuffix(name, ".key") + " key, keep it secret\n"
}

func checkPrivate(path string) error { return pki.CheckPrivate(path) }

// SaveKeys writes a member's private keys into a directory, mode 0600.
func SaveKeys(dir string, k standby.Keys) error {
	log, err := k.Log.Seed()
	if err != nil {
		return err
	}
	cosign, err := k.Cosign.Seed()
	if err != nil {
		return err
	}
	fs := durable.OS(dir)
	if err := fs.MkdirAll("."); err != nil {
		return err
	}
	for name, secret := range map[string][]byte{logKeyFile: log, cosignKeyFile: cosign, boxKeyFile: k.Box.Secret()} {
		if err := fs.WriteFile(name, []byte(keyHeader(name)+hex.EncodeToString(secret)+"\n")); err != nil {
			return err
		}
	}
	return nil
}

// LoadKeys reads what SaveKeys wrote. A key that others may read is refused.
func LoadKeys(dir string) (standby.Keys, error) {
	var k standby.Keys
	read := func(name string) ([]byte, error) {
		path := filepath.Join(dir, name)
		if err := checkPrivate(path); err != nil {
			return nil, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		body, ok := strings.CutPrefix(string(data), keyHeader(name))
		secret, err := hex.DecodeString(strings.TrimSuffix(body, "\n"))
		if !ok || err != nil || len(secret) != 32 {
			return nil, fmt.Errorf("%s is not a key file: restore it from where init wrote it", path)
		}
		return secret, nil
	}
	secret, err := read(logKeyFile)
	if err == nil {
		k.Log, err = chain.KeypairFromSeed(secret)
	}
	if err == nil {
		if secret, err = read(cosignKeyFile); err == nil {
			k.Cosign, err = chain.KeypairFromSeed(secret)
		}
	}
	if err == nil {
		if secret, err = read(boxKeyFile); err == nil {
			k.Box, err = chain.BoxKeyFromSecret(secret)
		}
	}
	if err != nil {
		return standby.Keys{}, fmt.Errorf("member keys: %w", err)
	}
	return k, nil
}
