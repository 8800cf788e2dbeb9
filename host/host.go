package host

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/chain"
)

// Why a host does not do what it is asked. The first group changed nothing.
var (
	ErrTooLarge  = errors.New("event too large")
	ErrProducer  = errors.New("bad producer")
	ErrOlder     = errors.New("the snapshot is older than this host")
	ErrForeign   = errors.New("the snapshot is of another group")
	ErrStateless = errors.New("the daemon is stateless")
	ErrNoQuery   = errors.New("the daemon answers no queries")
	// ErrPoisoned: the daemon failed in the middle of an event and its state is
	// unknown. The host must be rebuilt from a checkpoint.
	ErrPoisoned = errors.New("the host is poisoned")
)

// MaxReason bounds the recorded text of a rejection in bytes.
const MaxReason = 1024

// PoisonError is why a host became poisoned: the event was not recorded.
type PoisonError struct {
	Seq    uint64 // where the event would have been
	Reason string
	Stack  string // of the panic, if it was one
}

func (e *PoisonError) Error() string { return fmt.Sprintf("event at seq %d: %s", e.Seq, e.Reason) }

// Is makes errors.Is(err, ErrPoisoned) true.
func (e *PoisonError) Is(target error) bool { return target == ErrPoisoned }

// DivergenceError: a replayed step did not come out as it is recorded. The
// daemon is not deterministic, or was restored unfaithfully.
type DivergenceError struct {
	Seq    uint64
	Detail string
}

func (e *DivergenceError) Error() string {
	return fmt.Sprintf("replay diverges at seq %d: %s", e.Seq, e.Detail)
}

// Config holds the group's limits that decide refusals.
type Config struct {
	MaxEventBytes int // payload of an event
	MaxStepBytes  int // payload and outputs together
	MaxProducers  int // producers in the exact horizon
}

// ConfigFrom takes the limits from the founding record's settings.
func ConfigFrom(s chain.Settings) Config {
	return Config{MaxEventBytes: int(s.MaxEventBytes), MaxStepBytes: int(s.MaxStepBytes), MaxProducers: int(s.MaxProducers)}
}

// Stats counts what a host has done since it was made.
type Stats struct {
	EventsProcessed uint64
	EventsRejected  uint64
	EventsRefused   uint64
	OutputsEmitted  uint64
	SnapshotsTaken  uint64
}

// Step is one processed event and the link it became.
type Step struct {
	Event   chain.Event
	Outputs [][]byte
	Flags   chain.Flags
	Reason  string // of a rejection or refusal
	Link    chain.Link
	Hash    chain.Hash
}

// Host is one daemon and its place in the chain. It has one owner.
type Host struct {
	daemon  Daemon
	key     chain.Keypair
	cfg     Config
	tip     chain.Tip
	before  chain.Tip // the tip without the newest step, to root that step
	draft   chain.Draft
	horizon *chain.Horizon
	ledger  ledger
	stats   Stats
	poison  error
	fresh   bool // the newest link is a step that can still be rooted
	trail   trail
	attend  func(ev chain.Event, input chain.Hash)
}

// New starts a daemon at the group's GENESIS.
func New(d Daemon, f *chain.Founding, key chain.Keypair, cfg Config) (*Host, error) {
	tip, err := chain.Genesis(f)
	if err != nil {
		return nil, err
	}
	return at(d, key, tip, cfg), nil
}

// FromFork starts a blank daemon at a chain that begins with a fork: the tip
// documents its lineage and there is no state to restore.
func FromFork(d Daemon, key chain.Keypair, tip chain.Tip, cfg Config) (*Host, error) {
	if tip.Head.Link.Kind != chain.KindFork {
		return nil, fmt.Errorf("a fork begins at a FORK link, not at a %s link", tip.Head.Link.Kind)
	}
	return at(d, key, tip, cfg), nil
}

func at(d Daemon, key chain.Keypair, tip chain.Tip, cfg Config) *Host {
	return &Host{daemon: d, key: key, cfg: cfg, tip: tip, horizon: chain.NewHorizon(cfg.MaxProducers)}
}

// Attend has f called right before each call of the daemon's Process, with the
// event and its input digest: what it notes names the event in which a process
// died. Nil ends it.
func (h *Host) Attend(f func(ev chain.Event, input chain.Hash)) { h.attend = f }

// Deliver has the daemon process the next event of its producer. It sets the
// event's Seq and Term and raises its Time to the head's. An error from the
// daemon gives a rejected step, not an error. A [PoisonError] means that the
// daemon failed: nothing is recorded and the host is of no more use.
func (h *Host) Deliver(ev chain.Event) (Step, error) {
	if err := h.admit(&ev); err != nil {
		return Step{}, err
	}
	input := digest(&ev)
	outs, err := h.process(ev, input)
	if h.poison != nil {
		return Step{}, h.poison
	}
	if err != nil {
		return h.record(ev, input, nil, chain.Rejected, err.Error()), nil
	}
	return h.record(ev, input, outs, 0, ""), nil
}

// Refuse records an event that the daemon must not see, because it failed on
// it. The chain advances, the daemon does not.
func (h *Host) Refuse(ev chain.Event, why string) (Step, error) {
	if err := h.admit(&ev); err != nil {
		return Step{}, err
	}
	return h.record(ev, digest(&ev), nil, chain.Refused, reason(why)), nil
}

// again processes an event of which it is recorded whether it was rejected.
func (h *Host) again(ev chain.Event, input chain.Hash, flags chain.Flags) ([][]byte, error) {
	outs, err := h.process(ev, input)
	if h.poison != nil {
		return nil, h.poison
	}
	if (err != nil) == (flags&chain.Rejected != 0) {
		return outs, nil
	}
	detail := "the daemon accepts what it rejected before"
	if err != nil {
		detail = "the daemon rejects what it accepted before: " + err.Error()
	}
	return nil, h.diverge(&DivergenceError{Seq: ev.Seq, Detail: detail})
}

func (h *Host) diverge(err error) error {
	h.poison = fmt.Errorf("%w: %w", ErrPoisoned, err)
	return err
}

// admit checks an event and completes it, for the place after the head.
func (h *Host) admit(ev *chain.Event) error {
	if err := h.arrived(); err != nil {
		return err
	}
	return h.admitAfter(&h.tip.Head.Link, ev)
}

func (h *Host) admitAfter(head *chain.Link, ev *chain.Event) error {
	switch {
	case h.poison != nil:
		return h.poison
	case len(ev.Payload) > h.cfg.MaxEventBytes:
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(ev.Payload), h.cfg.MaxEventBytes)
	case len(ev.Producer) > chain.MaxProducer, (ev.Producer == "") != (ev.Sequence == 0):
		return fmt.Errorf("%w: %.70q with number %d", ErrProducer, ev.Producer, ev.Sequence)
	}
	ev.Seq, ev.Term, ev.Time = head.Seq+1, head.Term, max(ev.Time, head.Time)
	return nil
}

// process calls the daemon. A panic or outputs over the limit poison the host.
// The error has its text already: that is the daemon's code too, and may panic.
func (h *Host) process(ev chain.Event, input chain.Hash) (outs [][]byte, err error) {
	if h.attend != nil {
		h.attend(ev, input)
	}
	defer func() {
		if p := recover(); p != nil {
			h.poison = &PoisonError{Seq: ev.Seq, Reason: reason(fmt.Sprintf("the daemon panicked: %v", p)), Stack: string(debug.Stack())}
		}
	}()
	outs, err = h.daemon.Process(ev)
	if err != nil {
		return nil, errors.New(reason(err.Error()))
	}
	size := len(ev.Payload)
	for _, o := range outs {
		size += len(o) + 4
	}
	if size > h.cfg.MaxStepBytes {
		h.poison = &PoisonError{Seq: ev.Seq, Reason: fmt.Sprintf("event and outputs have %d bytes, the limit is %d", size, h.cfg.MaxStepBytes)}
	}
	return present(outs), nil
}

// present has empty bytes for each nil: what JSON says of an output is then the
// same as after it was read from a disk.
func present(outs [][]byte) [][]byte {
	isNil := func(o []byte) bool { return o == nil }
	if !slices.ContainsFunc(outs, isNil) {
		return outs
	}
	outs = slices.Clone(outs) // the daemon may give the same list to many hosts
	for i := range outs {
		if isNil(outs[i]) {
			outs[i] = []byte{}
		}
	}
	return outs
}

func digest(ev *chain.Event) chain.Hash {
	return chain.EventDigest(ev.Producer, ev.Sequence, ev.Payload)
}

func (h *Host) record(ev chain.Event, input chain.Hash, outs [][]byte, flags chain.Flags, why string) Step {
	h.draft = chain.Draft{
		Kind: chain.KindStep, Flags: flags, Term: ev.Term, Time: ev.Time, Producer: ev.Producer,
		Input:      input,
		NewOutputs: uint64(len(outs)), OutputRoot: chain.OutputRoot(h.tip.Head.Link.Outputs+1, outs),
	}
	h.before = h.tip
	h.fresh = true
	link := h.tip.Next(h.draft)
	hash := link.Hash()
	h.tip.Extend(&link, hash)
	h.count(&ev, len(outs), flags)
	return Step{Event: ev, Outputs: outs, Flags: flags, Reason: why, Link: link, Hash: hash}
}

func (h *Host) count(ev *chain.Event, outputs int, flags chain.Flags) {
	h.stats.EventsProcessed++
	h.stats.OutputsEmitted += uint64(outputs)
	switch {
	case flags&chain.Rejected != 0:
		h.stats.EventsRejected++
	case flags&chain.Refused != 0:
		h.stats.EventsRefused++
	case ev.Producer != "":
		h.horizon.Observe(ev.Producer, ev.Sequence, ev.Seq)
	}
}

// Root makes the newest step rooted, which the last of every entry is, and
// returns its link as it is now. It is valid right after Deliver or Refuse.
func (h *Host) Root() (chain.Link, chain.Hash) {
	if h.fresh && h.tip.Head.Link.Flags&chain.Rooted == 0 {
		h.draft.Flags |= chain.Rooted
		h.tip = h.before
		link := h.tip.Next(h.draft)
		h.tip.Extend(&link, link.Hash())
	}
	return h.tip.Head.Link, h.tip.Head.Hash
}

// Advance moves the host over a committed link that is no step.
func (h *Host) Advance(l *chain.Link) error {
	if err := h.arrived(); err != nil {
		return err
	}
	if l.Kind == chain.KindStep {
		return errors.New("a step must be delivered or replayed, not advanced over")
	}
	if err := h.tip.Append(l); err != nil {
		return err
	}
	h.fresh = false
	return nil
}

// reason bounds a text without cutting a character in two.
func reason(s string) string {
	if len(s) <= MaxReason {
		return s
	}
	s = s[:MaxReason]
	for len(s) > 0 && !utf8.ValidString(s) && len(s) > MaxReason-utf8.UTFMax {
		s = s[:len(s)-1]
	}
	return s
}
