package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// query asks the daemon. Whatever the daemon says no to is a refusal: nothing
// changed and another member would say the same.
func (a *api) query(c *call) error {
	params, err := c.params("stale")
	if err != nil {
		return err
	}
	stale, err := flag(params, "stale")
	if err != nil {
		return err
	}
	ans, err := a.cfg.Group.Query(c.r.Context(), c.body, stale)
	if err != nil {
		if err = unheard(err, false); wire.ProblemOf(err).Code == wire.Internal {
			first, _, _ := strings.Cut(err.Error(), "\n")
			err = &wire.Problem{Code: wire.Refused, Text: first, Remedy: "ask what the daemon knows"}
		}
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set(wire.HeaderSeq, strconv.FormatUint(ans.Seq, 10))
	h.Set(wire.HeaderTerm, strconv.FormatUint(ans.Term, 10))
	h.Set(wire.HeaderMember, ans.Member)
	return a.bytes(c, ans.Data)
}

func (a *api) bytes(c *call, b []byte) error {
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.w.Write(b)
	return nil
}

func (a *api) text(c *call, b []byte) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return a.bytes(c, b)
}

// session answers on the active alone: others, and one that was active until it
// was stopped, may not have heard of the newest events.
func (a *api) session(c *call) error {
	params, err := c.params("producer")
	if err != nil {
		return err
	}
	if params["producer"] == "" {
		return wire.Problemf(wire.BadRequest, "add ?producer=NAME", "no producer is named")
	}
	s := wire.Session{MaxEventBytes: a.limit}
	if s.Last, s.Known, err = a.cfg.Group.Session(c.r.Context(), params["producer"]); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, &s)
}

// operation logs who changed what, and how it ended.
func (a *api) operation(c *call, name string, do func() (any, error)) error {
	res, err := do()
	var inactive *standby.NotActiveError
	log := a.cfg.Logger.With("operation", name, "remote", c.r.RemoteAddr)
	if a.peer {
		log = log.With("from", c.r.Header.Get(wire.HeaderForwarded))
	}
	switch {
	case errors.As(err, &inactive) && inactive.Active != "":
		log.Info("an operation is for the active", "active", inactive.Active) // which logs what became of it
		return err
	case err != nil:
		log.Warn("an operation was not done", "err", err)
		return err
	default:
		log.Info("an operation was done")
	}
	return writeJSON(c.w, http.StatusOK, res)
}

func (a *api) sync(c *call) error {
	if err := c.decode(&struct{}{}); err != nil {
		return err
	}
	return a.operation(c, "sync", func() (any, error) { return a.cfg.Group.Sync(c.r.Context()) })
}

func (a *api) switchover(c *call) error {
	var args struct {
		To string `json:"to"`
	}
	if err := c.decode(&args, "to"); err != nil {
		return err
	}
	return a.operation(c, "switchover", func() (any, error) { return a.cfg.Group.Switchover(c.r.Context(), args.To) })
}

// Hold of a step-down: how long the member does not take the role back.
const (
	defaultHold = 10 * time.Second
	maxHold     = time.Hour
)

func (a *api) stepDown(c *call) error {
	args := struct {
		HoldMS uint64 `json:"hold_ms"`
	}{uint64(defaultHold.Milliseconds())}
	if err := c.decode(&args, "hold_ms"); err != nil {
		return err
	}
	if args.HoldMS > uint64(maxHold.Milliseconds()) {
		return wire.Problemf(wire.BadRequest, "use never_active to keep a member from the role", "hold_ms is %d, at most %d is allowed", args.HoldMS, maxHold.Milliseconds())
	}
	return a.operation(c, "step-down", func() (any, error) {
		err := a.cfg.Group.StepDown(c.r.Context(), time.Duration(args.HoldMS)*time.Millisecond)
		return map[string]any{"member": a.self, "hold_ms": args.HoldMS}, err
	})
}

func (a *api) proof(c *call) error {
	params, err := c.params("old")
	if err != nil {
		return err
	}
	old, err := number(params, "old", 0)
	if err != nil {
		return err
	}
	if old == 0 {
		return wire.Problemf(wire.BadRequest, "add ?old=SIZE: the size of the head that you hold, from 1", "a proof begins at a head that you hold")
	}
	b, next, err := a.cfg.Group.Prove(c.r.Context(), old)
	if err != nil {
		return err
	}
	if next > 0 {
		c.w.Header().Set(wire.HeaderNext, strconv.FormatUint(next, 10))
	}
	return a.text(c, b)
}

func (a *api) treeHead(c *call) error {
	if _, err := c.params(); err != nil {
		return err
	}
	b, err := a.cfg.Group.TreeHead(c.r.Context())
	if err != nil {
		return err
	}
	return a.text(c, b)
}
