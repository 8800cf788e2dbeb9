package standby

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// How much of the Raft log is kept, by what comes in. A member looks each second.
func TestRetention(t *testing.T) {
	const interval = 10 * time.Second
	type result struct {
		snapshots   int
		entries     uint64 // kept at the end
		bytes       int64
		most        uint64
		mostBytes   int64
		mostEntries int
	}
	// run feeds so many entries of a size a second, and then nothing for a minute.
	run := func(perSecond uint64, size int64, seconds int, rest int) (out result) {
		r := &retention{interval: interval, trailing: 10_240}
		now := time.Unix(1, 0)
		var at mark
		snapshot, first := uint64(0), uint64(1)
		for i := range seconds + rest {
			now = now.Add(time.Second)
			if i < seconds {
				at.index += perSecond
				at.bytes += int64(perSecond) * size
			}
			if keep, due := r.look(now, at, snapshot, first); due {
				out.snapshots++
				snapshot = at.index
				if at.index > keep {
					first = max(first, min(snapshot, at.index-keep)+1)
				}
			}
			out.most = max(out.most, at.index+1-first)
			out.mostEntries = max(out.mostEntries, len(r.marks))
		}
		out.entries = at.index + 1 - first
		out.bytes, out.mostBytes = int64(out.entries)*size, int64(out.most)*size
		return out
	}

	small := run(1000, 100, 600, 0)
	require.InDelta(t, 60, small.snapshots, 5, "one each interval at most")
	require.GreaterOrEqual(t, small.entries, uint64(8_192), "members that were away for a moment need them")
	require.LessOrEqual(t, small.most, uint64(10_240+8_192+10*1000))

	large := run(10, 1<<20, 600, 0)
	require.LessOrEqual(t, large.mostBytes, int64(2*logBytes+2*10*10<<20), "10,240 of these would be 10 GiB")
	require.GreaterOrEqual(t, large.bytes, int64(logBytes), "members that were away for a moment need them")
	require.LessOrEqual(t, large.mostEntries, 66)

	require.EqualValues(t, restKept, run(1000, 100, 60, 60).entries, "what nobody waits for goes")
	once := run(200, 100, 60, 600)
	require.EqualValues(t, restKept, once.entries)
	require.LessOrEqual(t, once.snapshots, 7, "one for the rest")
	require.Zero(t, run(1, 1000, 200, 600).snapshots, "too few to be worth one")
}
