package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/standby"
)

// embedded is a group whose members are all in this process; they speak to
// each other over TCP and write to their own directories as always.
type embedded struct {
	place  *place
	groups []*standby.Group
	active *standby.Group
}

func openEmbedded(ctx context.Context, base string, c *Case) (system, error) {
	p, err := newPlace(base, c.Members)
	if err != nil {
		return nil, err
	}
	e := &embedded{place: p}
	for _, name := range p.names {
		cfg, err := p.config(name)
		if err == nil {
			cfg.Store = c.Store
			cfg.New = func() host.Daemon { return kv.New() }
			var g *standby.Group
			if g, err = standby.Open(cfg); err == nil {
				e.groups = append(e.groups, g)
			}
		}
		if err != nil {
			os.RemoveAll(e.close())
			return nil, fmt.Errorf("member %s: %w", name, err)
		}
	}
	err = await(ctx, "an active member that all others follow", func(context.Context) error {
		e.active = nil
		for _, g := range e.groups {
			switch st := g.Status(); {
			case st.Role == standby.RoleActive:
				e.active = g
			case st.Role != standby.RoleStandby || st.Active == "":
				return fmt.Errorf("member %s is %s %s", st.Member, st.Role, st.Reason)
			}
		}
		if e.active == nil {
			return errors.New("nobody is active")
		}
		return nil
	})
	if err != nil {
		os.RemoveAll(e.close())
		return nil, err
	}
	return e, nil
}

func (e *embedded) caller(n int) (caller, error) {
	return &embeddedCaller{g: e.active, producer: producer(n)}, nil
}

func producer(n int) string { return fmt.Sprintf("bench-%d", n) }

func (e *embedded) usage(context.Context) (usage, error) {
	u, err := usageOf(os.Getpid())
	for _, g := range e.groups {
		io := g.Status().IO
		u.written, u.sent, u.syncs = u.written+io.WrittenBytes, u.sent+io.SentBytes, u.syncs+io.Syncs
	}
	return u, err
}

func (e *embedded) close() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, g := range e.groups {
		if g != e.active {
			wg.Go(func() { g.Close(ctx) })
		}
	}
	wg.Wait()
	if e.active != nil {
		e.active.Close(ctx) // last, so that nobody is promoted for nothing
	}
	return e.place.leave()
}

// embeddedCaller numbers its events, so that each is applied exactly once.
type embeddedCaller struct {
	g        *standby.Group
	producer string
	seq      uint64
	events   []standby.Event
}

func (c *embeddedCaller) call(ctx context.Context, batch [][]byte) error {
	c.events = c.events[:0]
	for i, p := range batch {
		c.events = append(c.events, standby.Event{Producer: c.producer, Sequence: c.seq + uint64(i) + 1, Payload: p})
	}
	for {
		res := c.g.DeliverBatch(ctx, c.events)
		busy, err := outcome(res)
		if busy == nil {
			c.seq += uint64(len(batch))
			return err
		}
		if !until(ctx, time.Now().Add(busy.RetryAfter)) {
			return context.Cause(ctx)
		}
	}
}

// outcome is what a batch came to: busy, so that all of it is to be sent
// again, or the first error. The daemon rejects none of the load's events.
func outcome(res []standby.Result) (busy *standby.BusyError, err error) {
	for i := range res {
		r := &res[i]
		switch {
		case errors.As(r.Err, &busy):
			return busy, nil
		case r.Err != nil:
			return nil, r.Err
		case r.Receipt.Rejected || r.Receipt.Refused:
			return nil, fmt.Errorf("the daemon says no: %s", r.Receipt.Reason)
		}
	}
	return nil, nil
}
