package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// outputs streams the group's outputs from this member's disk.
func (a *api) outputs(c *call) error {
	params, err := c.params("from", "follow", "limit")
	if err != nil {
		return err
	}
	from, err := number(params, "from", 1)
	if err != nil {
		return err
	}
	follow, err := flag(params, "follow")
	if err != nil {
		return err
	}
	limit, err := number(params, "limit", 0)
	if err != nil {
		return err
	}
	from = max(from, 1)
	if limit == 0 {
		limit = math.MaxUint64
	}
	if c.r.Method == http.MethodHead {
		c.w.Header().Set("Content-Type", wire.NDJSON)
		return nil
	}
	next := a.cfg.Group.OutputsNext()
	if !follow {
		limit = min(limit, max(next, from)-from)
	}
	s, err := open(a.streams, c.w, wire.NDJSON)
	if err != nil {
		return err
	}
	defer s.close()
	if limit == 0 || follow && from >= next {
		if err := s.write(nil, true); err != nil || limit == 0 { // nothing to tell yet but that it goes well
			return nil
		}
	}
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	s.beat(a.cfg.Limits.Heartbeat, cancel)
	if follow {
		go a.inTouch(ctx, cancel)
	}
	for out, err := range a.cfg.Group.Outputs(ctx, from) {
		if alone := context.Cause(ctx); err != nil && errors.Is(alone, standby.ErrNotActive) {
			s.fail(a, alone)
			return nil
		}
		if err != nil {
			if ctx.Err() == nil {
				s.fail(a, err)
			}
			return nil
		}
		limit--
		b, err := json.Marshal(&out)
		if err != nil {
			return err
		}
		if s.write(append(b, '\n'), limit == 0 || out.Number+1 >= a.cfg.Group.OutputsNext()) != nil || limit == 0 {
			return nil
		}
	}
	return nil
}

// aloneBeats is for how many heartbeats a member may know no active and go on
// with outputs: longer than elections take.
const aloneBeats = 4

// inTouch calls lost when this member has known no active for so long. It may be
// cut off, and what comes to the others does not come here.
func (a *api) inTouch(ctx context.Context, lost func(error)) {
	tick := time.NewTicker(a.cfg.Limits.Heartbeat)
	defer tick.Stop()
	for alone := 0; alone < aloneBeats; alone++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if name, _ := a.cfg.Group.Active(); name != "" {
			alone = -1
		}
	}
	lost(&standby.NotActiveError{})
}

// watch streams this member's status: now and after each change.
func (a *api) watch(c *call) error {
	params, err := c.params("limit")
	if err != nil {
		return err
	}
	limit, err := number(params, "limit", 0)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		c.w.Header().Set("Content-Type", wire.NDJSON)
		return nil
	}
	s, err := open(a.streams, c.w, wire.NDJSON)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	s.beat(a.cfg.Limits.Heartbeat, cancel)
	for st := range a.cfg.Group.Watch(ctx) {
		b, err := json.Marshal(&st)
		if err != nil {
			return err
		}
		if err := s.write(append(b, '\n'), true); err != nil {
			return nil
		}
		if limit--; limit == 0 {
			return nil
		}
	}
	return nil
}

func (a *api) status(c *call) error {
	if _, err := c.params(); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, a.cfg.Group.Status())
}

// Promotions told at a time.
const (
	defaultHistory = 20
	maxHistory     = 1000
)

func (a *api) history(c *call) error {
	params, err := c.params("limit")
	if err != nil {
		return err
	}
	limit, err := number(params, "limit", defaultHistory)
	if err != nil {
		return err
	}
	if limit == 0 || limit > maxHistory {
		return wire.Problemf(wire.BadRequest, "use 1 to 1000", "limit is %d", limit)
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), a.cfg.Limits.Timeout)
	defer cancel()
	ps, err := a.cfg.Group.History(ctx, int(limit))
	if err != nil {
		return unheard(err, false)
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"promotions": append([]standby.Promotion{}, ps...)})
}

// head is a line to keep: what a later proof is checked against.
func (a *api) head(c *call) error {
	params, err := c.params("size")
	if err != nil {
		return err
	}
	size, err := number(params, "size", 0)
	if err != nil {
		return err
	}
	st := a.cfg.Group.Status()
	head := chain.Head{Link: chain.Link{Seq: st.Seq}, Hash: st.Head}
	if size != 0 {
		if head, err = a.cfg.Group.HeadAt(size); err != nil {
			return err
		}
	}
	return a.text(c, continuity.FormatHead(st.Group, st.Origin, head))
}

func (a *api) founding(c *call) error {
	if _, err := c.params(); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	return a.bytes(c, a.cfg.Group.Founding())
}
