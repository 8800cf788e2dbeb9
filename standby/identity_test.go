package standby

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/raftstore"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// A kill while the very first identity is written leaves only its temporary
// file, and the member starts. Anything else without an identity is refused.
func TestLeftoverOfTheFirstIdentity(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, identityFile+".tmp123456")
	require.NoError(t, os.WriteFile(left, nil, 0o600))
	g := &Group{cfg: Config{Founding: testkit.Founding(1), Member: "a", Dir: dir}, fs: durable.OS(dir)}
	id, err := g.identity()
	require.NoError(t, err)
	require.EqualValues(t, 1, id.Starts)
	require.NoFileExists(t, left)

	require.NoError(t, os.Rename(filepath.Join(dir, identityFile), filepath.Join(dir, "history")))
	_, err = g.identity()
	require.ErrorContains(t, err, "no identity file")
}

// A member that was killed between the two writes of its bootstrap finishes it
// at the next start, while it still has its mark. A log that was lost otherwise
// is not begun anew.
func TestBootstrapIsFinished(t *testing.T) {
	for what, c := range map[string]struct {
		term, vote uint64
		entries    bool
		fails      string
	}{
		"killed between":     {term: 1},
		"killed after":       {term: 1, entries: true},
		"a vote, and no log": {term: 1, vote: 1, fails: "its raft log is empty"},
		"a term, and no log": {term: 2, fails: "its raft log is empty"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			mark := filepath.Join(dir, "bootstrap")
			require.NoError(t, os.WriteFile(mark, nil, 0o600))
			s, err := raftstore.Open(filepath.Join(dir, "raft"), raftstore.Options{SegmentBytes: 1 << 20})
			require.NoError(t, err)
			defer s.Close()
			require.NoError(t, s.Stable.SetUint64([]byte("CurrentTerm"), c.term))
			if c.vote > 0 {
				require.NoError(t, s.Stable.SetUint64([]byte("LastVoteTerm"), c.vote))
				require.NoError(t, s.Stable.Set([]byte("LastVoteCand"), []byte("b")))
			}
			if c.entries {
				require.NoError(t, s.Log.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogNoop}))
			}
			cfg := Config{Founding: testkit.Founding(1), Member: "a", Dir: dir, BootstrapMark: mark}
			cfg.setDefaults()
			g := &Group{cfg: cfg, log: slog.New(slog.DiscardHandler)}
			err = g.bootstrap(s)
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				require.FileExists(t, mark)
				return
			}
			require.NoError(t, err)
			require.NoFileExists(t, mark)
			var l raft.Log
			require.NoError(t, s.Log.GetLog(1, &l))
			if c.entries {
				require.Equal(t, raft.LogNoop, l.Type, "what is there stays")
				return
			}
			require.Equal(t, g.servers(), raft.DecodeConfiguration(l.Data))
		})
	}
}
