package standby

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// flip changes one bit of a file.
func (h *handover) flip(file string, at int64) {
	f, err := h.disk.Sub(".").Open(file, false)
	require.NoError(h.t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	require.NoError(h.t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	require.NoError(h.t, err)
	require.NoError(h.t, f.Sync())
}

// cut shortens a file.
func (h *handover) cut(file string, size int64) {
	f, err := h.disk.Sub(".").Open(file, false)
	require.NoError(h.t, err)
	require.NoError(h.t, f.Truncate(size))
	require.NoError(h.t, f.Sync())
}

// restart opens the archive of a group of one and restores a Raft snapshot.
func (h *handover) restart(snapshot chain.Tip) {
	h.open()
	h.a.alone = true
	h.a.reset(&snapshot)
	require.NoError(h.t, h.fail)
}

const firstSegment = "outputs/00000000000000000001.out"

// A group of one that starts with damage in its newest outputs archives all that
// is committed from then on. What is damaged stays on its disk, and is said.
func TestAloneWithDamagedOutputs(t *testing.T) {
	h := newHandover(t)
	h.a.alone = true
	h.entry(9)
	require.NoError(t, h.a.settle()) // Raft lets go of the entries
	h.flip(firstSegment, 4*70)
	before, err := h.disk.Sub(".").ReadFile(firstSegment, 1<<20)
	require.NoError(t, err)
	snapshot := h.tip
	for range 3 {
		h.restart(snapshot)
		h.entry(3)
		require.NoError(t, h.a.settle())
		require.True(t, h.a.whole())
		require.NoError(t, h.a.hist.Check(h.tip.Frontier))
		n := int(h.tip.Head.Link.Outputs) - 9
		outs, err := h.a.outs.Read(10, 100)
		require.NoError(t, err)
		require.Len(t, outs, n)
		_, err = h.a.outs.Read(9, 1)
		require.ErrorIs(t, err, durable.ErrDamaged)
		outs, err = h.a.outs.Read(1, 100)
		require.NoError(t, err)
		require.NotEmpty(t, outs, "what is before it can be read")
		after, err := h.disk.Sub(".").ReadFile(firstSegment, 1<<20)
		require.NoError(t, err)
		require.Equal(t, before, after, "what is damaged is kept")
		if n > 3 {
			snapshot = h.tip
		}
		h.tip = snapshot // what is after it comes again from the log
	}
}

// The same with damage in the newest links, in the hashes over them, and in
// files that are cut or gone.
func TestAloneWithDamagedHistory(t *testing.T) {
	for what, x := range map[string]struct {
		damage func(h *handover)
		lost   bool // for ever
	}{
		"a link":               {func(h *handover) { h.flip("history/links", 4*chain.LinkSize+100) }, true},
		"the newest link":      {func(h *handover) { h.flip("history/links", 9*chain.LinkSize+100) }, true},
		"links that are gone":  {func(h *handover) { h.cut("history/links", 5*chain.LinkSize) }, true},
		"a hash":               {func(h *handover) { h.flip("history/hashes", 5*32) }, true},
		"an edge of the tree":  {func(h *handover) { h.flip("history/hashes", 14*32) }, false},
		"hashes that are gone": {func(h *handover) { h.cut("history/hashes", 7*32+5) }, false},
		"all hashes":           {func(h *handover) { h.cut("history/hashes", 0) }, false},
		"hashes under an edge": {func(h *handover) { h.flip("history/hashes", 5*32); h.flip("history/hashes", 14*32) }, false},
		"all of it":            {func(h *handover) { require.NoError(h.t, h.disk.Sub(".").RemoveAll("history")) }, true},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHandover(t)
			h.a.alone = true
			h.entry(9)
			require.NoError(t, h.a.settle())
			x.damage(h)
			links, err := h.disk.Sub(".").ReadFile("history/links", 1<<20)
			require.True(t, err == nil || what == "all of it")
			h.restart(h.tip)
			require.EqualValues(t, 10, h.a.hist.Size(), "a group of one does not cut its history")
			h.entry(3)
			require.NoError(t, h.a.settle())
			h.restart(h.tip)
			require.Equal(t, h.tip.Head.Size(), h.a.hist.Size())
			for seq := uint64(10); seq < 13; seq++ {
				_, err := h.a.hist.Link(seq)
				require.NoError(t, err)
			}
			after, err := h.disk.Sub(".").ReadFile("history/links", 1<<20)
			require.NoError(t, err)
			require.Len(t, after, 13*chain.LinkSize)
			require.True(t, bytes.HasPrefix(after, links), "what is damaged is kept")
			_, err = h.a.hist.Scrub(0, 100)
			require.Equal(t, x.lost, errors.Is(err, durable.ErrDamaged), "what is not repaired is said")
		})
	}
}

// A group of one whose archive cannot be written ends before it lets go of
// anything: its Raft log keeps what the next start archives.
func TestAloneKeepsWhatWaits(t *testing.T) {
	h := newHandover(t)
	h.a.alone = true
	h.entry(2)
	require.NoError(t, h.a.settle())
	snapshot := h.tip
	h.disk.Hook = func(op, name string) error {
		if op == "write" && strings.HasPrefix(name, "outputs") {
			return errors.New("no space left on device")
		}
		return nil
	}
	for range maxWaiting + 64 {
		h.entry(1)
		if len(h.a.queue.results) > maxQueued/2 {
			h.a.catchUp()
		}
	}
	require.Error(t, h.a.settle())
	require.ErrorContains(t, h.fail, "no other member keeps them")
	h.disk.Hook = nil
	require.Error(t, h.a.settle(), "Raft lets go of what is not archived")
	require.Error(t, h.a.settle())
	h.fail = nil
	h.restart(snapshot)
	h.tip = snapshot
	for range maxWaiting + 64 {
		h.entry(1)
	}
	require.NoError(t, h.a.settle())
	h.holds()
}

// After a failed fsync the kernel may have dropped what was written, and the
// next one succeeds: the member ends, and Raft lets go of nothing on its word.
func TestFailedFsyncOfTheArchive(t *testing.T) {
	for _, what := range []string{"history/links", "history/hashes", "history/records", "history/index", "outputs"} {
		h := newHandover(t)
		h.entry(5)
		broken := errors.New("input/output error")
		h.disk.Hook = func(op, name string) error {
			if op == "sync" && strings.HasPrefix(name, what) {
				return broken
			}
			return nil
		}
		require.ErrorIs(t, h.a.settle(), broken)
		require.ErrorIs(t, h.fail, broken)
		h.disk.Hook = nil
		for range 2 {
			require.ErrorIs(t, h.a.settle(), broken, what)
			require.ErrorIs(t, h.a.sync(), broken, what)
		}
	}
}

// The same when the outputs begin a new file, which syncs the one before.
func TestFailedFsyncBetweenSegments(t *testing.T) {
	h := newHandover(t)
	payload := slices.Repeat([]byte("x"), 4<<20)
	for range 4 {
		h.step([][]byte{payload})
	}
	require.NoError(t, h.a.settle())
	broken := errors.New("input/output error")
	h.disk.Hook = func(op, name string) error {
		if op == "sync" && name == firstSegment {
			return broken
		}
		return nil
	}
	h.step([][]byte{payload})
	require.False(t, h.a.whole())
	require.ErrorIs(t, h.fail, broken)
	h.disk.Hook = nil
	require.ErrorIs(t, h.a.settle(), broken)
}
