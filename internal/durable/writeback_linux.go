//go:build !arm

package durable

import "syscall"

func (f osFile) WriteBack(off, size int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	syscall.SyncFileRange(int(f.Fd()), off, size, write)
}
