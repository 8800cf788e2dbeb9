package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// Whoever types events, or pipes them in slowly, hears at once that nobody
// takes them, and can stop without another line.
func TestDeliverEndsWhileItsInputIsSilent(t *testing.T) {
	ours := make(chan os.Signal, 1) // else an interrupt that comes too early or too late ended the test
	signal.Notify(ours, os.Interrupt)
	defer signal.Stop(ours)
	for name, c := range map[string]struct {
		line, timeout string
		interrupt     bool
		code          int
	}{
		"nobody answers": {"one\n", "300ms", false, 2},
		"interrupted":    {"", "1m", true, interrupted},
	} {
		t.Run(name, func(t *testing.T) {
			in, typed := io.Pipe()
			defer typed.Close()
			ended := make(chan int, 1)
			var said bytes.Buffer
			go func() {
				ended <- run([]string{"deliver", "--producer", "p", "--addr", nobody(t), "--timeout", c.timeout}, in, io.Discard, &said)
			}()
			io.WriteString(typed, c.line)
			for deadline := time.After(10 * time.Second); ; {
				select {
				case code := <-ended:
					require.Equal(t, c.code, code, said.String())
					return
				case <-deadline:
					t.Fatal("it waits for another line")
				case <-time.After(50 * time.Millisecond):
					if c.interrupt {
						require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
					}
				}
			}
		})
	}
}
