package raftstore_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/raftstore"
)

// What the gate says of a write is the write's outcome: it does not reach the
// disk, and the first that fails ends them all.
func TestGate(t *testing.T) {
	eachKind(t, func(t *testing.T, o raftstore.Options) {
		full := errors.New("full")
		var gate, fatal error
		dir := t.TempDir()
		o.Gate, o.OnFatal = func() error { return gate }, func(err error) { fatal = err }
		s, err := raftstore.Open(dir, o)
		require.NoError(t, err)
		require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), 1))
		require.NoError(t, s.Log.StoreLog(entry(1, 1)))
		gate = full
		require.ErrorIs(t, s.Log.StoreLog(entry(2, 1)), full)
		require.ErrorIs(t, fatal, full)
		gate = nil
		require.ErrorIs(t, s.Stable.SetUint64([]byte("CurrentTerm"), 5), raftstore.ErrFailed)
		require.NoError(t, s.Close())

		s, err = raftstore.Open(dir, raftstore.Options{Store: o.Store, SegmentBytes: o.SegmentBytes})
		require.NoError(t, err)
		defer s.Close()
		var l raft.Log
		require.NoError(t, s.Log.GetLog(1, &l))
		require.ErrorIs(t, s.Log.GetLog(2, &l), raft.ErrLogNotFound)
	})
}
