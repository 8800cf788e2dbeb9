package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/internal/local"
	"github.com/understudy-ha/understudy/standby/client"
)

// stubborn is a stage whose active is a process that only SIGKILL ends, and
// whose members answer nothing.
func stubborn(t *testing.T) *stage {
	ready := filepath.Join(t.TempDir(), "ready")
	m := &member{name: "a", Process: local.Process{
		Program: "/bin/sh", Args: []string{"-c", `trap "" TERM; : >"$0"; while :; do sleep 1; done`, ready}, Log: filepath.Join(t.TempDir(), "log"),
	}}
	m.client = asks(t, "http://127.0.0.1:1")
	require.NoError(t, m.Start())
	t.Cleanup(m.Kill)
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 30*time.Second, time.Millisecond)
	cfg := &Config{Patience: 100 * time.Millisecond, Progress: func(string, ...any) {}}
	d := &drill{cfg: cfg, group: &group{members: []*member{m}, patience: cfg.Patience}, rng: rand.New(rand.NewPCG(1, 1)), load: new(load)}
	return &stage{drill: d, active: m, victim: m, r: new(Round)}
}

func asks(t *testing.T, url string) *client.Client {
	c, err := client.New(client.Config{Members: []string{url}, StallTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// within fails if f takes longer than it may.
func within(t *testing.T, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for ever")
	}
}

// A member that does not end when it should is what a drill is to find.
func TestMemberThatDoesNotEndIsNotWaitedForForever(t *testing.T) {
	s := stubborn(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	within(t, func() { require.ErrorContains(t, s.restart(ctx, s.active, nil), "does not stop") })
}

// The sync that the kill interrupts may never have reached the member, and
// nobody may come back to answer it.
func TestSyncThatNobodyAnswersIsNotWaitedForForever(t *testing.T) {
	s := stubborn(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	within(t, func() { require.Error(t, syncKill(ctx, s)) })
}

// A group in use that answers nothing any more is told of, question by question.
func TestGroupInUseThatIsGoneIsNotWaitedForForever(t *testing.T) {
	cfg := &LiveConfig{Fault: Switchover, Patience: 100 * time.Millisecond}
	load := &trickle{name: "p", cfg: cfg}
	load.moved = sync.NewCond(&load.mu)
	l := &live{cfg: cfg, load: load, ask: asks(t, "http://127.0.0.1:1")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, ask := range map[string]func() error{
		"play":    func() error { return l.play(ctx) },
		"compare": func() error { return l.compare(ctx, new(Round)) },
		"prove":   func() error { return l.prove(ctx, continuity.Held{Size: 1}, new(Round)) },
		"head":    func() error { _, err := l.head(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func() { require.ErrorContains(t, ask(), "no member answered in time") })
		})
	}
}

// between is a context that ends right after somebody has seen that it has not.
type between struct {
	context.Context
	once   sync.Once
	cancel context.CancelFunc
}

func (c *between) Err() error {
	err := c.Context.Err()
	c.once.Do(func() {
		c.cancel()
		time.Sleep(50 * time.Millisecond)
	})
	return err
}

// Who is about to wait does not sleep through the end.
func TestEndIsNotSleptThrough(t *testing.T) {
	l := &load{cfg: &Config{Patience: time.Minute}}
	l.moved = sync.NewCond(&l.mu)
	ctx, cancel := context.WithCancel(t.Context())
	within(t, func() {
		err := l.until(&between{Context: ctx, cancel: cancel}, "waiting", func() bool { return false })
		require.ErrorIs(t, err, context.Canceled)
	})
}

// A member that handed the role over may be active again, after another one was:
// on a busy machine the next one loses it at once.
func TestActiveThatIsBackIsAPromotion(t *testing.T) {
	var term atomic.Uint64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"role":"active","term":%d}`, term.Load())
	}))
	defer srv.Close()
	s := stubborn(t)
	s.active.client = asks(t, srv.URL)
	for now, promoted := range map[uint64]bool{7: false, 8: false, 9: true} {
		term.Store(now)
		m, err := s.group.promoted(t.Context(), 7, s.active)
		require.Equal(t, promoted, err == nil, "term %d: %v", now, err)
		require.Equal(t, promoted, m == s.active)
	}
}
