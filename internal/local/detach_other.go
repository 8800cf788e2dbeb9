//go:build !linux

package local

import "syscall"

// detached keeps the terminal's interrupts from the members.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
