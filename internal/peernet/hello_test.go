package peernet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/internal/testkit"
)

var (
	testBinding = bytes.Repeat([]byte{0xbb}, 32)
	testNonce   = bytes.Repeat([]byte{0xcc}, 32)
)

func testGate(t testing.TB, member string) *gate {
	f := testkit.Founding(3)
	fs := durable.NewMem().Sub("peers")
	require.NoError(t, fs.MkdirAll("."))
	id := Identity{Group: f.Group, Origin: f.Origin(), Member: member, StoreID: [16]byte{1, 15: member[0]}, Starts: 258}
	g, err := newGate(id, testkit.Keys(member).Log, f.Roster, fs)
	require.NoError(t, err)
	return g
}

func TestGoldenHello(t *testing.T) {
	b, err := testGate(t, "b").hello('d', testBinding, testNonce)
	require.NoError(t, err)
	golden.Bytes(t, "hello", b)
	a := testGate(t, "a")
	p, err := a.judge(golden.Read(t, "hello"), 'd', testBinding, testNonce, "")
	require.NoError(t, err)
	require.Equal(t, testGate(t, "b").id, p)
	_, err = a.judge(b, 'a', testBinding, testNonce, "")
	require.ErrorContains(t, err, "not signed")

	memory, err := a.memory.ReadFile("b", 100)
	require.NoError(t, err)
	golden.Bytes(t, "memory", memory)
	again := testGate(t, "a")
	require.NoError(t, again.memory.WriteFile("b", golden.Read(t, "memory")))
	again, err = newGate(again.id, again.key, again.roster, again.memory)
	require.NoError(t, err)
	p.Starts--
	require.ErrorContains(t, again.remember(p), "earlier state", "what the file says is known")
}

// A hello is that of its sender to the byte, whoever signed it, or refused.
func FuzzHello(f *testing.F) {
	b := golden.Read(f, "hello")
	f.Add(b)
	f.Add(b[:len(b)-64])
	fixed := 60 + len(Identity{}.Marks)*8
	f.Add(append(append(bytes.Clone(b[:fixed]), 255), make([]byte, 300)...)) // the longest name
	a, from := testGate(f, "a"), testGate(f, "b")
	f.Fuzz(func(t *testing.T, b []byte) {
		sig, err := from.key.Sign(helloDigest('d', b, testBinding, testNonce))
		require.NoError(t, err)
		for _, hello := range [][]byte{b, append(b[:len(b):len(b)], sig...)} {
			var p Identity
			a.known, a.memory = make(map[string]peerStore), durable.NewMem().Sub(".")
			golden.Bounded(t, len(hello), func() { p, err = a.judge(hello, 'd', testBinding, testNonce, "") })
			if err != nil {
				continue
			}
			require.Equal(t, "b", p.Member)
			from.id = p
			back, err := from.hello('d', testBinding, testNonce)
			require.NoError(t, err)
			require.Equal(t, hello, back)
		}
	})
}

// Whatever a stranger says on a new connection, the answer is a refusal within
// bounds, and nothing of it is remembered.
func FuzzShake(f *testing.F) {
	hello := golden.Read(f, "hello")
	f.Add(append(binary.BigEndian.AppendUint16(bytes.Clone(testNonce), uint16(len(hello))), hello...))
	f.Add(binary.BigEndian.AppendUint16(bytes.Clone(testNonce), 0xffff))
	g := testGate(f, "a")
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		answered := make(chan struct{})
		go func() { io.Copy(io.Discard, theirs); close(answered) }()
		go func() { theirs.Write(b); theirs.Close() }()
		golden.Bounded(t, len(b), func() {
			_, err := g.shake(ours, "", testBinding)
			require.Error(t, err)
		})
		ours.Close()
		<-answered
		_, err := g.memory.ReadFile("b", 100)
		require.True(t, errors.Is(err, os.ErrNotExist))
	})
}
