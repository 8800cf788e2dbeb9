package continuity_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

func TestGoldenTreeHead(t *testing.T) {
	m := story()
	golden.Text(t, "treehead", m.treeHead("a"))
	b := golden.ReadText(t, "treehead")
	h, err := continuity.OpenTreeHead(b, m.f)
	require.NoError(t, err)
	require.Equal(t, continuity.TreeHead{Size: m.Size(), Root: m.tip.Root(), Members: []string{"a"}}, h)

	// golang.org/x/mod's note opens it with the key as it writes keys.
	id := testkit.Keys("a").Log.ID()
	vkey, err := note.NewEd25519VerifierKey(m.f.Group+"/"+m.f.Origin().String(), ed25519.PublicKey(id[:]))
	require.NoError(t, err)
	v, err := note.NewVerifier(vkey)
	require.NoError(t, err)
	n, err := note.Open(b, note.VerifierList(v))
	require.NoError(t, err)
	require.Len(t, n.Sigs, 1)
	require.Empty(t, n.UnverifiedSigs)
}

func TestGoldenBundle(t *testing.T) {
	m := story()
	golden.Text(t, "bundle", m.prove(t, 4))
	v, err := continuity.Verify(golden.ReadText(t, "bundle"), m.held(4), m.f)
	require.NoError(t, err)
	require.Equal(t, m.tip.Head.Hash, v.Head)
	require.Len(t, v.Handoffs, 3)
}

func TestGoldenHead(t *testing.T) {
	m := story()
	golden.Text(t, "head", continuity.FormatHead(m.f.Group, m.f.Origin(), m.heads[7]))
	h, err := continuity.ParseHead(golden.ReadText(t, "head"), m.f)
	require.NoError(t, err)
	require.Equal(t, m.held(8), h)
}

// A bundle that is accepted proves the head of the history, to the byte of it.
func FuzzVerify(f *testing.F) {
	m := story()
	golden.SeedText(f, "bundle")
	f.Fuzz(func(t *testing.T, b []byte) {
		golden.Bounded(t, len(b), func() {
			if v, err := continuity.Verify(b, m.held(4), m.f); err == nil {
				require.Equal(t, m.tip.Head.Hash, v.Head)
				require.Equal(t, golden.ReadText(t, "bundle"), b)
			}
		})
	})
}

// What a member signed, whatever it is, opens as the tree head that it says or
// not at all.
func FuzzOpenTreeHead(f *testing.F) {
	m := story()
	golden.SeedText(f, "treehead")
	text, _, _ := strings.Cut(string(golden.ReadText(f, "treehead")), "\n\n")
	f.Add([]byte(text + "\n"))
	name := m.f.Group + "/" + m.f.Origin().String()
	key := testkit.Keys("a").Log
	seed, err := key.Seed()
	require.NoError(f, err)
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, continuity.KeyHash(name, key.ID()), base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	s, err := note.NewSigner(skey)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		notes := [][]byte{b}
		if signed, err := note.Sign(&note.Note{Text: string(b)}, s); err == nil {
			notes = append(notes, signed)
		}
		for _, b := range notes {
			h, err := continuity.OpenTreeHead(b, m.f)
			if err != nil {
				require.ErrorIs(t, err, continuity.ErrTreeHead)
				continue
			}
			back, err := continuity.SignTreeHead(m.f.Group, m.f.Origin(), h.Size, h.Root, key)
			require.NoError(t, err)
			require.Equal(t, string(back), string(b))
		}
	})
}

func FuzzParseHead(f *testing.F) {
	m := story()
	golden.SeedText(f, "head")
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := continuity.ParseHead(b, m.f)
		if err != nil {
			require.ErrorIs(t, err, continuity.ErrUnverifiable)
			return
		}
		back := continuity.FormatHead(m.f.Group, m.f.Origin(), chain.Head{Link: chain.Link{Seq: h.Size - 1}, Hash: h.Hash})
		require.Equal(t, strings.TrimSuffix(string(back), "\n"), strings.TrimSuffix(string(b), "\n"))
	})
}

// The signed note that golang.org/x/mod publishes as its example, with its key:
// what we take for a key's id and for a signature is what others do.
func TestPublishedNote(t *testing.T) {
	const (
		name = "PeterNeumann"
		text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
		sig  = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
	)
	key, err := base64.StdEncoding.DecodeString("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
	require.NoError(t, err)
	id := chain.EntityID(key[1:])
	require.Equal(t, uint32(0xc74f20a3), continuity.KeyHash(name, id))
	n, err := note.Open([]byte(text+"\n"+sig), note.VerifierList(continuity.NewVerifier(name, id)))
	require.NoError(t, err)
	require.Equal(t, text, n.Text)
}
