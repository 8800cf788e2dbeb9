package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/understudy-ha/understudy/internal/local"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"understudy": main})
}

// The scripts in testdata/script run the command as its users do: real
// processes, real sockets, real files.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ports": ports, "code": code, "await": await, "flip": flip, "blocks": blocks, "document": document,
		},
	})
}

// ports A B …: sets each variable to a port of loopback that is the script's.
func ports(ts *testscript.TestScript, neg bool, args []string) {
	p, err := local.ReservePorts(len(args))
	ts.Check(err)
	ts.Defer(p.Release)
	for i, name := range args {
		_, port, err := net.SplitHostPort(p.Addrs[i])
		ts.Check(err)
		ts.Setenv(name, port)
	}
}

// code N program args…: the program ends with exit code N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await program args…: repeats until the program ends well.
func await(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within a minute: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // between two questions, not for synchronisation
	}
}

// flip FILE BIT: changes one bit.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	bit, err := strconv.Atoi(args[1])
	ts.Check(err)
	if bit/8 >= len(b) {
		ts.Fatalf("%s has %d bytes", args[0], len(b))
	}
	b[bit/8] ^= 1 << (bit % 8)
	ts.Check(os.WriteFile(path, b, 0o600))
}
