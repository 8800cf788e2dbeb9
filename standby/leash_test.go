//go:build unix

package standby

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// work is a call of the daemon that takes so much of the processor.
func work(d time.Duration) {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	for end := used.Utime.Nano() + used.Stime.Nano() + int64(d); used.Utime.Nano()+used.Stime.Nano() < end; {
		syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	}
}

// A process that was frozen does not take the call that it was in for one that
// hangs. Here this test's own process is the one that freezes its child.
func TestFrozenProcessIsNoHang(t *testing.T) {
	const stall = 2 * time.Second
	calls := map[string]func(func()) error{
		"leash": newLeash(stall).run,
		"watched": func(f func()) error {
			_, err := watched(context.Background(), stall, func() uint64 { return 0 }, func(context.Context) (int, error) { f(); return 0, nil })
			return err
		},
	}
	if call := calls[os.Getenv("UNDERSTUDY_TEST_FROZEN")]; call != nil {
		err := call(func() {
			os.Stdout.WriteString("begins\n")
			work(50 * time.Millisecond)
		})
		if err != nil {
			os.Exit(9)
		}
		os.Exit(0)
	}
	for name := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run", "^TestFrozenProcessIsNoHang$")
			cmd.Env = append(os.Environ(), "UNDERSTUDY_TEST_FROZEN="+name)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "begins\n", line)
			require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
			time.Sleep(stall + stall/4)
			require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
			go io.Copy(io.Discard, out)
			require.NoError(t, cmd.Wait())
		})
	}
}
