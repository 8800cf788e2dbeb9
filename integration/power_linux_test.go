package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// ownDisks gives every member a file system of its own whose power can be cut.
func ownDisks(s *stage) {
	s.t.Helper()
	if os.Getuid() != 0 {
		s.t.Skip("a file system of its own for each member takes root")
	}
	for _, m := range s.members {
		require.NoError(s.t, os.Mkdir(m.data(), 0o700))
		f, err := os.Create(m.disk())
		require.NoError(s.t, err)
		require.NoError(s.t, f.Truncate(4<<30))
		require.NoError(s.t, f.Close())
		if out, err := exec.Command("mkfs.ext4", "-q", "-F", m.disk()).CombinedOutput(); err != nil {
			s.t.Skipf("no file system for %s: %v %s", m.name, err, out)
		}
		if err := m.mount(); err != nil {
			s.t.Skip(err)
		}
		s.t.Cleanup(func() { syscall.Unmount(m.data(), syscall.MNT_DETACH) }) // gone with the last process in it
		require.NoError(s.t, os.Remove(filepath.Join(m.data(), "lost+found")))
		require.NoError(s.t, os.Chmod(m.data(), 0o700))
	}
}

func (m *member) disk() string { return m.dir + ".img" }

// mount mounts a member's disk. Nothing is written to it by itself for a long
// time, only what somebody waits for.
func (m *member) mount() error {
	out, err := exec.Command("mount", "-o", "loop,commit=3600", m.disk(), m.data()).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("mounting a disk for %s: %w: %s", m.name, err, out)
	}
	return err
}

const (
	shutdownCall = 0x8004587d // EXT4_IOC_SHUTDOWN
	noLogFlush   = 2          // what is in memory only is lost, also of the journal
)

// cutPower forgets everything that a member's disk had not been made to keep.
func (m *member) cutPower() error {
	d, err := os.Open(m.data())
	if err != nil {
		return err
	}
	defer d.Close()
	how := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.Fd(), shutdownCall, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return fmt.Errorf("cutting the power of %s: %w", m.name, errno)
	}
	return nil
}

// powerCut cuts the power of all members at once, or of some: nothing runs any
// more, and the disks have what was synced. A file that was written and not
// synced is gone, which shows that the cut is one.
func powerCut(s *soak) string {
	s.t.Helper()
	victims := s.members
	if n := s.rng.IntN(4); n < 3 {
		active, _ := s.active()
		victims = [][]*member{{active}, {s.standby()}, {active, s.standby()}}[n]
	}
	what := ""
	for _, m := range victims {
		s.signal(m, syscall.SIGSTOP)
		what += m.name
	}
	for _, m := range victims {
		require.NoError(s.t, os.WriteFile(m.canary(), make([]byte, 4096), 0o600))
		require.NoError(s.t, m.cutPower())
	}
	s.kill(victims...)
	for _, m := range victims {
		require.NoError(s.t, syscall.Unmount(m.data(), 0))
		require.NoError(s.t, m.mount())
		require.NoFileExists(s.t, m.canary(), "the disk lost nothing")
		s.start(m)
	}
	return what
}

func (m *member) canary() string { return filepath.Join(m.data(), "canary") }

// The power of members is cut under load. What was acknowledged is on the disks.
func TestPowerCut(t *testing.T) {
	slow(t)
	s := newSoak(t, chosen(t, "power-cut"))
	for range 3 {
		t.Log(s.round())
	}
	s.sum()
}
