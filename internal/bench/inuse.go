package bench

import (
	"context"
	"fmt"
	"slices"

	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

// CheckGroup asks a group in use whether it can be measured: its daemon takes
// the load's events, which another one would have recorded as rejected, and all
// of its members are named, so that what is counted is of all of them.
func CheckGroup(ctx context.Context, cfg client.Config) error {
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	st, err := c.Status(ctx)
	switch {
	case err != nil:
		return err
	case st.Daemon != kv.Name:
		return &standby.RefusedError{Reason: fmt.Sprintf("the load is for the daemon %s, and the group's is %s", kv.Name, st.Daemon)}
	case len(st.Members) != len(cfg.Members):
		return &standby.RefusedError{Reason: fmt.Sprintf("the group has %d members, and %d addresses are given: give those of all", len(st.Members), len(cfg.Members))}
	}
	return nil
}

// inUse are the cases with what a group in use has of its own, each once.
func (c *Config) inUse() []Case {
	var out []Case
	for _, one := range c.Cases {
		one.Members, one.Store = len(c.Group.Members), "as configured"
		if !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return out
}
