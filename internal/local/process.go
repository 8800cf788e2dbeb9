// Package local runs member processes on this machine, for drills, tests and
// measurements. It finds ports that are and stay free, starts a program under a log file, sends
// it signals and waits for its end. On Linux a process dies with the one that
// started it. Nothing here knows what a group is.
package local

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a program that can be started again after it has ended.
type Process struct {
	Program string
	Args    []string
	Log     string // file that takes what it prints
	Piped   bool   // its standard input is a pipe, to be written to with Say

	input  io.WriteCloser
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs the program. It dies with this one.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.Program, p.Args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	for _, kv := range os.Environ() { // the user's own settings are for the user's own group
		if !strings.HasPrefix(kv, "UNDERSTUDY_") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.SysProcAttr = detached()
	if p.Piped {
		if p.input, err = p.cmd.StdinPipe(); err != nil {
			return err
		}
	}
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	cmd, exited := p.cmd, make(chan struct{})
	p.exited = exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	return nil
}

// Running says whether it was started and has not ended.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Pid is the running process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends it a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Say writes a line to its standard input.
func (p *Process) Say(line string) error {
	_, err := io.WriteString(p.input, line+"\n")
	return err
}

// Wait waits until it has ended.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill ends it at once, if it runs.
func (p *Process) Kill() {
	if p.Running() {
		p.Signal(syscall.SIGKILL)
		<-p.exited
	}
}

// Stop asks it to end, and ends it when it does not in time.
func (p *Process) Stop(within time.Duration) {
	if !p.Running() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	p.Signal(syscall.SIGTERM)
	p.Wait(ctx)
	p.Kill()
}
