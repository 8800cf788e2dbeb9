package local

import "syscall"

// detached keeps the terminal's interrupts from the members, and the members
// from living on when this process dies.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
