package host

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Subscription is something that the daemon's service listens to. The ledger
// travels in every snapshot, so that a promoted member can subscribe again
// before the first event.
type Subscription struct {
	Publisher string
	Channel   string
	Token     []byte
}

// Bounds of the subscription ledger.
const (
	MaxSubscriptions = 65_536
	MaxToken         = 64 << 10
	maxLedgerName    = 1024
)

// ErrLedger: a subscription or an encoded ledger breaks a bound or rule.
var ErrLedger = errors.New("bad subscription")

type ledger map[[2]string][]byte

// RecordSubscription notes a subscription. Recording it again replaces its token.
func (h *Host) RecordSubscription(publisher, channel string, token []byte) error {
	key := [2]string{publisher, channel}
	_, known := h.ledger[key]
	switch {
	case channel == "" || len(channel) > maxLedgerName || len(publisher) > maxLedgerName:
		return fmt.Errorf("%w: publisher %.40q channel %.40q: names have 1 to %d bytes", ErrLedger, publisher, channel, maxLedgerName)
	case len(token) > MaxToken:
		return fmt.Errorf("%w: a token of %d bytes, at most %d", ErrLedger, len(token), MaxToken)
	case !known && len(h.ledger) >= MaxSubscriptions:
		return fmt.Errorf("%w: there are %d already", ErrLedger, len(h.ledger))
	}
	if h.ledger == nil {
		h.ledger = make(ledger)
	}
	h.ledger[key] = slices.Clone(token)
	return nil
}

// ForgetSubscription drops a subscription; it may be gone already.
func (h *Host) ForgetSubscription(publisher, channel string) {
	delete(h.ledger, [2]string{publisher, channel})
}

// SubscriptionCount is the number of subscriptions.
func (h *Host) SubscriptionCount() int { return len(h.ledger) }

// Subscriptions lists them, sorted by publisher and channel.
func (h *Host) Subscriptions() []Subscription {
	out := make([]Subscription, 0, len(h.ledger))
	for k, token := range h.ledger {
		out = append(out, Subscription{k[0], k[1], slices.Clone(token)})
	}
	slices.SortFunc(out, func(a, b Subscription) int {
		return byName([2]string{a.Publisher, a.Channel}, [2]string{b.Publisher, b.Channel})
	})
	return out
}

func byName(a, b [2]string) int {
	return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
}

func (l ledger) marshal() []byte {
	if len(l) == 0 {
		return nil
	}
	h := Host{ledger: l}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(l)))
	for _, s := range h.Subscriptions() {
		for _, part := range [][]byte{[]byte(s.Publisher), []byte(s.Channel), s.Token} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
			b = append(b, part...)
		}
	}
	return b
}

// parseLedger reads what marshal wrote, strictly: sorted, bounded, nothing left over.
func parseLedger(b []byte) (ledger, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var h Host
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: the ledger has %d bytes", ErrLedger, len(b))
	}
	n, rest := int(binary.BigEndian.Uint32(b)), b[4:]
	if n == 0 || n > MaxSubscriptions || n > len(rest)/12 {
		return nil, fmt.Errorf("%w: the ledger says %d entries in %d bytes", ErrLedger, n, len(rest))
	}
	var last [2]string
	for range n {
		var parts [3][]byte
		for i := range parts {
			if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
				return nil, fmt.Errorf("%w: the ledger ends too early", ErrLedger)
			}
			size := binary.BigEndian.Uint32(rest)
			parts[i], rest = rest[4:4+size], rest[4+size:]
		}
		key := [2]string{string(parts[0]), string(parts[1])}
		if h.ledger != nil && byName(key, last) <= 0 {
			return nil, fmt.Errorf("%w: the ledger is not sorted", ErrLedger)
		}
		last = key
		if err := h.RecordSubscription(key[0], key[1], parts[2]); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the ledger", ErrLedger, len(rest))
	}
	return h.ledger, nil
}
