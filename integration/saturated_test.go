package integration

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var saturated = flag.Duration("saturated", 0, "how long the test with saturated processors goes on, 0: it is skipped")

// burnCommand makes this test's program keep a processor busy until its
// standard input ends.
const burnCommand = "burn"

func burn() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for h := sha256.Sum256(nil); ; h = sha256.Sum256(h[:]) {
	}
}

// With the default timing and twice as many busy processes as there are
// processors, none of them nice, nobody takes the active for gone.
func TestSaturated(t *testing.T) {
	if *saturated <= 0 {
		t.Skip("it goes on for as long as it is told, on a machine with nothing else to do: -saturated 30m")
	}
	s := newStage(t, plan{daemon: "kv", lasts: *saturated + 5*time.Minute, flags: []string{"--profile", "lan"}})
	load := newStream(s, 1)
	t.Cleanup(load.stop)
	load.resume()
	load.until(t, "a group at work", 100)
	_, before := s.active()

	self, err := os.Executable()
	require.NoError(t, err)
	for range 2 * runtime.NumCPU() {
		c := exec.CommandContext(s.ctx, self, burnCommand)
		in, err := c.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		t.Cleanup(func() { in.Close(); c.Wait() })
	}
	slowest, last := time.Duration(0), time.Now()
	for end := time.Now().Add(*saturated); time.Now().Before(end); last = time.Now() {
		load.until(t, "the next hundred receipts", load.acked()+100)
		slowest = max(slowest, time.Since(last))
		_, now := s.active()
		require.Equal(t, before.Term, now.Term, "%s in term %d, then %s in term %d, after %d events", before.Active, before.Term, now.Active, now.Term, load.acked())
	}
	referee := s.referee()
	outputs := referee.run(load.pause(t))
	s.counts(referee)
	for _, m := range s.members {
		s.keeps(m, outputs)
	}
	fmt.Fprintf(os.Stderr, "saturated: %v with %d busy processes, %d events acknowledged, all by %s in term %d; the slowest hundred took %v\n",
		*saturated, 2*runtime.NumCPU(), load.acked(), before.Active, before.Term, slowest.Round(time.Millisecond))
}
