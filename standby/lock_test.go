package standby

import (
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// A second process on the data directory of a member that runs is kept out
// before it changes anything: not the identity, and the event that the running
// one processes is no death.
func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	open := func() (*Group, error) {
		cfg := Config{Founding: testkit.Founding(1), Member: "a", Dir: dir, TLSDir: filepath.Join(dir, "none")}
		cfg.setDefaults()
		g := &Group{cfg: cfg, log: slog.New(slog.DiscardHandler), changed: newSignal()}
		g.ctx, g.cancel = context.WithCancelCause(t.Context())
		return g, g.open()
	}
	starts := func() uint64 {
		b, err := durable.ReadSealed(durable.OS(dir), identityFile, 1<<20)
		require.NoError(t, err)
		return binary.BigEndian.Uint64(b[16:])
	}
	first, _ := open() // as far as it comes without certificates
	pen := first.poison.Pen(false)
	pen.Note(chain.Event{Producer: "p", Sequence: 1, Seq: 7, Term: 1}, chain.Hash{1}) // it processes an event

	second, err := open()
	require.ErrorContains(t, err, "used by another process")
	require.NoError(t, second.closeStores())
	require.EqualValues(t, 1, starts())
	require.NoFileExists(t, filepath.Join(dir, "poison", "deaths"))

	require.NoError(t, first.closeStores())
	third, err := open()
	require.NotContains(t, err.Error(), "used by another process", "the first one is gone")
	require.EqualValues(t, 2, starts())
	require.NoError(t, third.closeStores())
}
