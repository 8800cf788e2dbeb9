package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime/debug"

	"github.com/understudy-ha/understudy/chain"
)

// Position is a place in the chain with what belongs to it besides the
// daemon's state.
type Position struct {
	Tip           chain.Tip
	Horizon       []byte // exact, encoded
	Subscriptions []byte // encoded
}

// Snapshot is a daemon's state at a position, whole in memory.
type Snapshot struct {
	Position
	DaemonName string
	State      []byte
}

// Capturing is a frozen view of a host between two events: its position and
// the daemon's state, which may be written while the host goes on.
type Capturing struct {
	Position   Position
	DaemonName string
	state      []byte
	capture    Capture
}

// Capture freezes the host's position and state. A stateless daemon's state is empty.
func (h *Host) Capture() (c *Capturing, err error) {
	if err := h.arrived(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("the daemon panicked in its snapshot: %v\n%s", p, debug.Stack())
		}
	}()
	c = &Capturing{DaemonName: h.Name(), Position: Position{Tip: h.tip, Horizon: h.horizon.Marshal(), Subscriptions: h.ledger.marshal()}}
	switch d := h.daemon.(type) {
	case Streamer:
		c.capture, err = d.Capture()
	case Stateful:
		c.state, err = d.Snapshot()
	}
	if err != nil {
		return nil, fmt.Errorf("the daemon's snapshot failed: %w", err)
	}
	h.stats.SnapshotsTaken++
	return c, nil
}

// WriteState streams the daemon's state.
func (c *Capturing) WriteState(w io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the daemon panicked in its snapshot: %v\n%s", p, debug.Stack())
		}
	}()
	if c.capture != nil {
		_, err = c.capture.WriteTo(w)
		return err
	}
	_, err = w.Write(c.state)
	return err
}

// Release lets go of the view.
func (c *Capturing) Release() {
	if c.capture != nil {
		c.capture.Release()
	}
}

// TakeSnapshot is the host's state in one piece; ErrStateless if there is none.
func (h *Host) TakeSnapshot() (*Snapshot, error) {
	if !IsStateful(h.daemon) {
		return nil, fmt.Errorf("%w: %s has no snapshot", ErrStateless, h.Name())
	}
	c, err := h.Capture()
	if err != nil {
		return nil, err
	}
	defer c.Release()
	var b bytes.Buffer
	if err := c.WriteState(&b); err != nil {
		return nil, err
	}
	return &Snapshot{Position: c.Position, DaemonName: c.DaemonName, State: b.Bytes()}, nil
}

// FromSnapshot makes a host from a snapshot, with its horizon and subscriptions.
func FromSnapshot(d Daemon, key chain.Keypair, s *Snapshot, cfg Config) (*Host, error) {
	if s.DaemonName != d.Name() {
		return nil, fmt.Errorf("%w: it is of daemon %q, this is %q", ErrForeign, s.DaemonName, d.Name())
	}
	return FromPosition(d, key, s.Position, bytes.NewReader(s.State), cfg)
}

// FromPosition makes a host at a position, with the daemon's state from a
// stream. The daemon must be fresh.
func FromPosition(d Daemon, key chain.Keypair, pos Position, state io.Reader, cfg Config) (*Host, error) {
	h := at(d, key, pos.Tip, cfg)
	var err error
	if pos.Tip.Frontier.Size() != pos.Tip.Head.Size() || pos.Tip.Head.Link.Hash() != pos.Tip.Head.Hash {
		return nil, errors.New("the position's head and frontier do not belong together")
	}
	if h.horizon, err = chain.ParseHorizon(pos.Horizon, cfg.MaxProducers); err != nil {
		return nil, err
	}
	if h.ledger, err = parseLedger(pos.Subscriptions); err != nil {
		return nil, err
	}
	if err := restore(d, state); err != nil {
		return nil, err
	}
	return h, nil
}

func restore(d Daemon, state io.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the daemon panicked in its restore: %v\n%s", p, debug.Stack())
		}
	}()
	switch d := d.(type) {
	case Streamer:
		if err := d.RestoreFrom(state); err != nil {
			return err
		}
		if n, err := io.Copy(io.Discard, state); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("the daemon left %d bytes of its state unread", n))
		}
		return nil
	case Stateful:
		b, err := io.ReadAll(state)
		if err != nil {
			return err
		}
		return d.Restore(b)
	}
	n, err := io.Copy(io.Discard, state)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: %s cannot restore %d bytes", ErrStateless, d.Name(), n)
	}
	return err
}

// Restore brings this host to a snapshot by restoring it into a fresh daemon
// and swapping at the end: if it fails nothing has changed. Snapshots of
// another group or from before the host's position are refused.
func (h *Host) Restore(s *Snapshot, fresh Daemon) error {
	switch head := s.Tip.Head; {
	case head.Link.Origin != h.Origin():
		return fmt.Errorf("%w: %s, this is %s", ErrForeign, head.Link.Origin.Short(), h.Origin().Short())
	case head.Link.Term < h.tip.Head.Link.Term || head.Seq() < h.Sequence():
		return fmt.Errorf("%w: term %d seq %d, the host is at term %d seq %d", ErrOlder, head.Link.Term, head.Seq(), h.tip.Head.Link.Term, h.Sequence())
	}
	n, err := FromSnapshot(fresh, h.key, s, h.cfg)
	if err != nil {
		return err
	}
	n.stats = h.stats
	*h = *n
	return nil
}

const (
	snapshotMagic = "USN1"
	// MaxSnapshot bounds an encoded snapshot in bytes; larger state goes through Capture.
	MaxSnapshot = 1 << 30
)

// ErrSnapshot: the bytes are not those of a snapshot.
var ErrSnapshot = errors.New("malformed snapshot")

// Marshal encodes the snapshot with a digest over all of it.
func (s *Snapshot) Marshal() []byte {
	link := s.Tip.Head.Link.Bytes()
	b := append([]byte(snapshotMagic), link[:]...)
	for _, f := range s.Tip.Frontier.Hashes() {
		b = append(b, f[:]...)
	}
	for _, part := range [][]byte{[]byte(s.DaemonName), s.Horizon, s.Subscriptions, s.State} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	d := chain.Derive("snapshot", b)
	return append(b, d[:]...)
}

// ParseSnapshot reads what Marshal wrote.
func ParseSnapshot(b []byte) (*Snapshot, error) {
	const least = len(snapshotMagic) + chain.LinkSize + 32
	if len(b) < least || len(b) > MaxSnapshot || string(b[:4]) != snapshotMagic {
		return nil, fmt.Errorf("%w: %d bytes", ErrSnapshot, len(b))
	}
	body, digest := b[:len(b)-32], chain.Hash(b[len(b)-32:])
	if chain.Derive("snapshot", body) != digest {
		return nil, fmt.Errorf("%w: the digest does not match, bytes were changed", ErrSnapshot)
	}
	link, err := chain.ParseLink(body[4 : 4+chain.LinkSize])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	rest := body[4+chain.LinkSize:]
	n := bits.OnesCount64(link.Seq + 1)
	if len(rest) < 32*n {
		return nil, fmt.Errorf("%w: the frontier ends too early", ErrSnapshot)
	}
	hashes := make([]chain.Hash, n)
	for i := range hashes {
		hashes[i], rest = chain.Hash(rest[:32]), rest[32:]
	}
	f, err := chain.NewFrontier(link.Seq+1, hashes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	s := &Snapshot{}
	if s.Tip, err = chain.ResumeTip(link, f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	var name []byte
	for _, part := range []*[]byte{&name, &s.Horizon, &s.Subscriptions, &s.State} {
		if len(rest) < 8 || binary.BigEndian.Uint64(rest) > uint64(len(rest)-8) {
			return nil, fmt.Errorf("%w: a part ends too early", ErrSnapshot)
		}
		size := binary.BigEndian.Uint64(rest)
		*part, rest = rest[8:8+size:8+size], rest[8+size:]
	}
	if len(rest) > 0 || len(name) > 256 {
		return nil, fmt.Errorf("%w: %d bytes are left over", ErrSnapshot, len(rest))
	}
	s.DaemonName = string(name)
	return s, nil
}
