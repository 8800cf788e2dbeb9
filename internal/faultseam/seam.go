// Package faultseam lets a drill break what only a member's own process can
// reach without privileges: its writes to disk and its wall clock.
//
// It cannot be switched on by mistake. A member takes faults only if it is run
// with a hidden flag, which no configuration file and no variable can set; only
// from its standard input, which is the drill's end of a pipe; and only if its
// directory was founded by a drill: a mark beside it names the origin of the
// group, which is random and made with it. A member of any other group, also
// one that was copied under a drill's directory, refuses to start with the flag.
package faultseam

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/internal/env"
)

// markFile is beside the members' directories of a drill's group.
const markFile = "drill-only"

// Mark says that a drill founded the group in a directory.
func Mark(dir string, origin chain.Origin) error {
	return durable.OS(dir).WriteFile(markFile, fmt.Appendf(nil, "%s\nA drill made this group to break it. Nothing here is worth keeping.\n", origin))
}

// Commands that a drill writes to a member's standard input, one a line.
const (
	Stall = "stall" // writes do not return
	Full  = "full"  // writes fail: no space left on device
	Heal  = "heal"  // writes go on, the clock is right
	Clock = "clock" // followed by a duration: the wall clock is off by it
)

// seam is the faults of one member.
type seam struct {
	mu      sync.Mutex
	stalled bool
	full    bool
	skew    time.Duration
	changed chan struct{} // closed at each command
}

// Open takes faults for the member in a directory from the drill that runs it.
func Open(memberDir string, founding *chain.Founding, commands io.Reader) (*env.Faults, error) {
	b, err := durable.OS(filepath.Dir(filepath.Clean(memberDir))).ReadFile(markFile, 4<<10)
	origin, _, _ := strings.Cut(string(b), "\n")
	if errors.Is(err, os.ErrNotExist) || err == nil && origin != founding.Origin().String() {
		return nil, fmt.Errorf("group %s was not founded by a drill: faults are for a drill's own throw-away members", founding.Group)
	}
	if err != nil {
		return nil, err
	}
	s := &seam{changed: make(chan struct{})}
	go s.obey(commands)
	return &env.Faults{Write: s.write, Now: s.now}, nil
}

// obey does what the drill says until it hangs up. What it said last holds on.
func (s *seam) obey(commands io.Reader) {
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		s.mu.Lock()
		switch word {
		case Stall:
			s.stalled = true
		case Full:
			s.full = true
		case Heal:
			s.stalled, s.full, s.skew = false, false, 0
		case Clock:
			if d, err := time.ParseDuration(rest); err == nil {
				s.skew = d
			}
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// write stands in front of every write.
func (s *seam) write() error {
	for {
		s.mu.Lock()
		stalled, full, changed := s.stalled, s.full, s.changed
		s.mu.Unlock()
		switch {
		case full:
			return syscall.ENOSPC
		case !stalled:
			return nil
		}
		<-changed
	}
}

func (s *seam) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skew)
}
