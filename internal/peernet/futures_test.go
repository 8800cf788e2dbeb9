package peernet

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// slowWords takes its time.
type slowWords struct{ words }

func (w *slowWords) Apply(l *raft.Log) any {
	time.Sleep(5 * time.Millisecond)
	return w.words.Apply(l)
}

// Futures of a Raft that is shut down may never be answered (hashicorp/raft
// issue 498): whoever waits for one needs a deadline of its own. This is the
// control for the active's.
func TestFuturesMayNeverReturn(t *testing.T) {
	hanging := 0
	leaks := bubble(t, func(t *testing.T) {
		_, tr := raft.NewInmemTransport("a")
		cfg, disk, snaps := quickRaft("a"), raft.NewInmemStore(), raft.NewInmemSnapshotStore()
		one := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}}
		require.NoError(t, raft.BootstrapCluster(cfg, disk, disk, snaps, tr, one))
		r, err := raft.NewRaft(cfg, &slowWords{}, disk, disk, snaps, tr)
		require.NoError(t, err)
		require.True(t, <-r.LeaderCh())
		var returned atomic.Int64
		const n = 400
		for range n {
			f := r.Apply([]byte("x"), 0)
			go func() { f.Error(); returned.Add(1) }()
		}
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, r.Shutdown().Error())
		time.Sleep(time.Hour)
		hanging = n - int(returned.Load())
	})
	require.Positive(t, hanging, "every future returns: is the active's own deadline still needed?")
	require.True(t, leaks)
}

// bubble runs f in virtual time and says whether it leaves goroutines behind
// that nothing can wake any more.
func bubble(t *testing.T, f func(t *testing.T)) (leaks bool) {
	defer func() {
		if p := recover(); p != nil {
			if !strings.HasPrefix(fmt.Sprint(p), "deadlock") {
				panic(p)
			}
			leaks = true
		}
	}()
	synctest.Test(t, f)
	return false
}
