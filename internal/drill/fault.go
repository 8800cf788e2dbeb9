package drill

import (
	"context"
	"syscall"

	"github.com/understudy-ha/understudy/standby/client"
)

// Fault is what is done to the active.
type Fault string

// The faults.
const (
	Kill       Fault = "kill"       // SIGKILL: the process is gone, its disk stays
	Term       Fault = "term"       // SIGTERM: an orderly stop
	Pause      Fault = "pause"      // SIGSTOP until another is active, then SIGCONT
	Switchover Fault = "switchover" // the role is handed over, nothing stops
)

// Faults lists them.
func Faults() []Fault { return []Fault{Kill, Term, Pause, Switchover} }

// inject does it to a member.
func (f Fault) inject(ctx context.Context, m *member, c *client.Client) error {
	switch f {
	case Kill:
		return m.Signal(syscall.SIGKILL)
	case Term:
		return m.Signal(syscall.SIGTERM)
	case Pause:
		return m.Signal(syscall.SIGSTOP)
	default:
		_, err := c.Switchover(ctx, "")
		return err
	}
}

// heal brings the member back.
func (f Fault) heal(ctx context.Context, m *member) error {
	switch f {
	case Kill, Term:
		if err := m.Wait(ctx); err != nil {
			return err
		}
		return m.Start()
	case Pause:
		return m.Signal(syscall.SIGCONT)
	}
	return nil
}
