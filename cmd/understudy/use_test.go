package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/local"
)

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	p, err := local.ReservePorts(1)
	require.NoError(t, err)
	t.Cleanup(p.Release)
	return p.Addrs[0]
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

// Many outputs may take long, on the way and to be read; a member that falls
// silent may not.
func TestOutputsTakeLongerThanTheTimeout(t *testing.T) {
	t.Setenv("UNDERSTUDY_CONFIG", "")
	var silent bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for n := range 6 {
			json.NewEncoder(w).Encode(&chain.Output{Number: uint64(n + 1), Seq: 1, Term: 1, Payload: []byte("x")})
			http.NewResponseController(w).Flush()
			time.Sleep(200 * time.Millisecond) // a line that is slow
		}
		if silent {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	outputs := func() (int, string, string) {
		var out, errs bytes.Buffer
		code := run([]string{"outputs", "--raw", "--addr", s.URL, "--timeout", "800ms"}, nil, &out, &errs)
		return code, out.String(), errs.String()
	}
	code, out, errs := outputs()
	require.Zero(t, code, errs)
	require.Equal(t, strings.Repeat("x\n", 6), out)
	silent = true
	code, _, errs = outputs()
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--timeout 800ms")
}

// What goes on until it is interrupted begins with somebody who answers.
func TestNobodyToFollow(t *testing.T) {
	t.Setenv("UNDERSTUDY_CONFIG", "")
	for _, args := range [][]string{{"status", "--watch"}, {"outputs", "--follow"}} {
		ended := make(chan int, 1)
		var errs bytes.Buffer
		go func() {
			ended <- run(append(args, "--addr", nobody(t), "--timeout", "300ms"), nil, io.Discard, &errs)
		}()
		select {
		case code := <-ended:
			require.Equal(t, 2, code)
			require.Contains(t, errs.String(), "no member answered")
		case <-time.After(5 * time.Second):
			t.Errorf("%v waits without a word", args)
		}
	}
}
