package pki_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/pki"
)

// What was issued survives a power cut: the authority's key is gone by then,
// and nobody could issue it again.
func TestIssuedIsDurable(t *testing.T) {
	ca, err := pki.NewCA("g", time.Now())
	require.NoError(t, err)
	mem := durable.NewMem()
	dir := mem.Sub("member/tls")
	require.NoError(t, ca.Issue(dir, "g", chain.Origin{}, "a", time.Now()))
	require.NoError(t, ca.IssueServer(dir, "localhost", time.Now()))
	mem.Crash()
	for _, name := range []string{pki.CAFile, pki.CertFile, pki.KeyFile, pki.APICertFile, pki.APIKeyFile} {
		b, err := dir.ReadFile(name, 1<<20)
		require.NoError(t, err, name)
		require.Contains(t, string(b), "-----END", name)
	}
}

// A member that cannot load its certificate says which file is to be restored.
func TestDamagedFilesAreNamed(t *testing.T) {
	ca, err := pki.NewCA("g", time.Now())
	require.NoError(t, err)
	for _, name := range []string{pki.CAFile, pki.CertFile, pki.KeyFile} {
		dir := t.TempDir()
		require.NoError(t, ca.Issue(durable.OS(dir), "g", chain.Origin{}, "a", time.Now()))
		_, err := pki.LoadMember(dir)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(filepath.Join(dir, name), 0))
		_, err = pki.LoadMember(dir)
		require.ErrorContains(t, err, filepath.Join(dir, name))
		require.ErrorContains(t, err, "restore")
	}
}
