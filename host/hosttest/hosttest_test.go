package hosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// counter is a good daemon: it counts, and rejects "no".
type counter struct{ n, rejected uint64 }

func (c *counter) Name() string            { return "counter" }
func (c *counter) CanonicalSnapshot() bool { return true }
func (c *counter) Process(ev chain.Event) ([][]byte, error) {
	if string(ev.Payload) == "no" {
		return nil, errors.New("no")
	}
	c.n++
	return [][]byte{fmt.Append(nil, c.n)}, nil
}
func (c *counter) Snapshot() ([]byte, error) { return binary.BigEndian.AppendUint64(nil, c.n), nil }
func (c *counter) Restore(b []byte) error {
	if len(b) != 8 {
		return errors.New("eight bytes are a snapshot")
	}
	c.n = binary.BigEndian.Uint64(b)
	return nil
}
func (c *counter) Query([]byte) ([]byte, error) { return fmt.Append(nil, c.n), nil }

// The daemons below break one promise each.

type chance struct{ counter }

func (c *chance) Process(ev chain.Event) ([][]byte, error) {
	return [][]byte{fmt.Append(nil, rand.IntN(1000))}, nil
}

type forgetful struct{ counter }

func (c *forgetful) Process(ev chain.Event) ([][]byte, error) {
	c.rejected++
	return [][]byte{fmt.Append(nil, c.rejected)}, nil
}

type secretive struct{ n int } // has state and no snapshot

func (c *secretive) Name() string { return "secretive" }
func (c *secretive) Process(chain.Event) ([][]byte, error) {
	c.n++
	return [][]byte{fmt.Append(nil, c.n)}, nil
}

type hasty struct{ counter }

func (c *hasty) Process(ev chain.Event) ([][]byte, error) {
	c.n++
	if string(ev.Payload) == "no" {
		return nil, errors.New("no")
	}
	return nil, nil
}

type trusting struct{ counter }

func (c *trusting) Restore(b []byte) error { c.n = binary.BigEndian.Uint64(b); return nil }

type curious struct{ counter }

func (c *curious) Query([]byte) ([]byte, error) { c.n++; return nil, nil }

type jumpy struct{ counter } // a question that it does not know ends it

func (j *jumpy) Query([]byte) ([]byte, error) { panic("what?") }

type keeper struct{ kept []byte } // keeps the event's bytes

func (k *keeper) Name() string { return "keeper" }
func (k *keeper) Process(ev chain.Event) ([][]byte, error) {
	out := [][]byte{append([]byte{}, k.kept...)}
	k.kept = ev.Payload
	return out, nil
}
func (k *keeper) Snapshot() ([]byte, error) { return k.kept, nil }
func (k *keeper) Restore(b []byte) error    { k.kept = b; return nil }

type shifty struct{ counter } // its captures show what came later

func (s *shifty) Capture() (host.Capture, error) { return (*view)(&s.counter), nil }
func (s *shifty) RestoreFrom(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return s.Restore(b)
}

type view counter

func (v *view) Release() {}
func (v *view) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.BigEndian.AppendUint64(nil, v.n))
	return int64(n), err
}

type thrifty struct { // writes each output over the one before
	counter
	buf [8]byte
}

func (t *thrifty) Process(ev chain.Event) ([][]byte, error) {
	t.n++
	return [][]byte{fmt.Appendf(t.buf[:0], "%08d", t.n)}, nil
}

type vandal struct{ counter }

func (v *vandal) Process(ev chain.Event) ([][]byte, error) {
	ev.Payload[0] = 'x'
	return v.counter.Process(ev)
}

type stateless struct{}

func (stateless) Name() string { return "echo" }
func (stateless) Process(ev chain.Event) ([][]byte, error) {
	return [][]byte{append([]byte{}, ev.Payload...)}, nil
}

func events() [][]byte {
	return [][]byte{[]byte("a"), []byte("no"), []byte("b"), []byte("c"), []byte("no"), []byte("d")}
}

func TestGoodDaemonsPass(t *testing.T) {
	Run(t, func() host.Daemon { return new(counter) }, events())
	Run(t, func() host.Daemon { return stateless{} }, events())
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	for check, new := range map[string]func() host.Daemon{
		"determinism":           func() host.Daemon { return new(chance) },
		"snapshot round trip":   func() host.Daemon { return new(forgetful) },
		"rejection":             func() host.Daemon { return new(hasty) },
		"damaged snapshot":      func() host.Daemon { return new(trusting) },
		"query":                 func() host.Daemon { return new(curious) },
		"snapshot stands still": func() host.Daemon { return new(shifty) },
	} {
		require.Error(t, run(t, check, new), check)
	}
	require.ErrorContains(t, run(t, "snapshot round trip", func() host.Daemon { return new(secretive) }), "implement host.Stateful")
	require.ErrorContains(t, run(t, "event and outputs", func() host.Daemon { return new(thrifty) }), "not a buffer that is used again")
	require.ErrorContains(t, run(t, "event and outputs", func() host.Daemon { return new(vandal) }), "must not be changed")
	require.ErrorContains(t, run(t, "query", func() host.Daemon { return new(jumpy) }), "panicked")
	s, err := newSuite(func() host.Daemon { return new(keeper) }, events())
	require.NoError(t, err)
	require.Contains(t, string(s.first[1].Outputs[0]), "\xdb", "the suite overwrites the bytes that a daemon may not keep")
}

func run(t *testing.T, name string, new func() host.Daemon) error {
	t.Helper()
	s, err := newSuite(new, events())
	require.NoError(t, err)
	for _, c := range checks() {
		if c.name == name {
			return c.run(s)
		}
	}
	t.Fatal("no check " + name)
	return nil
}
