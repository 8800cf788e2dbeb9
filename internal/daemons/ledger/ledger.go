// Package ledger is a built-in daemon: accounts and transfers between them.
//
// Events are lines of text:
//
//	open NAME AMOUNT      a new account with money from outside
//	transfer FROM TO AMOUNT
//
// Each gives one output: what was done and the balances after it. Whatever
// does not parse, names an unknown account or would overdraw one is rejected.
// The sum over all accounts only changes by open: a group that lost or doubled
// a transfer is found out by the balances, one that half did it by the sum.
//
// Queries are lines too: "balance NAME", "total", "accounts".
package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/understudy-ha/understudy/chain"
)

// Name is the daemon's name.
const Name = "ledger"

// Limits.
const (
	MaxAccounts = 1_000_000
	MaxName     = 64      // bytes of an account's name
	maxListed   = 100_000 // accounts in an answer
)

// Daemon is a ledger. Make one with New.
type Daemon struct {
	accounts map[string]uint64
	total    uint64
}

// New makes a ledger without accounts.
func New() *Daemon { return &Daemon{accounts: make(map[string]uint64)} }

// Name implements host.Daemon.
func (d *Daemon) Name() string { return Name }

// Process implements host.Daemon.
func (d *Daemon) Process(ev chain.Event) ([][]byte, error) {
	words := strings.Fields(string(ev.Payload))
	switch {
	case len(words) == 3 && words[0] == "open":
		return d.open(words[1], words[2])
	case len(words) == 4 && words[0] == "transfer":
		return d.transfer(words[1], words[2], words[3])
	}
	return nil, errors.New("write: open NAME AMOUNT, or: transfer FROM TO AMOUNT")
}

func amount(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("amount %.30q is not a whole number from 0 to %d", s, int64(math.MaxInt64))
	}
	return n, nil
}

func (d *Daemon) open(name, money string) ([][]byte, error) {
	n, err := amount(money)
	switch _, there := d.accounts[name]; {
	case err != nil:
		return nil, err
	case there:
		return nil, fmt.Errorf("account %s is open already", name)
	case len(name) > MaxName:
		return nil, fmt.Errorf("the account's name is longer than %d bytes", MaxName)
	case len(d.accounts) >= MaxAccounts:
		return nil, fmt.Errorf("there are %d accounts, and no more are allowed", len(d.accounts))
	case d.total+n > math.MaxInt64:
		return nil, fmt.Errorf("the total would exceed %d", int64(math.MaxInt64))
	}
	d.accounts[name] = n
	d.total += n
	return [][]byte{fmt.Appendf(nil, "opened %s %d", name, n)}, nil
}

func (d *Daemon) transfer(from, to, money string) ([][]byte, error) {
	n, err := amount(money)
	if err != nil {
		return nil, err
	}
	a, okFrom := d.accounts[from]
	_, okTo := d.accounts[to]
	switch {
	case !okFrom:
		return nil, fmt.Errorf("no account %.70s", from)
	case !okTo:
		return nil, fmt.Errorf("no account %.70s", to)
	case a < n:
		return nil, fmt.Errorf("account %s holds %d, less than %d", from, a, n)
	}
	d.accounts[from] -= n
	d.accounts[to] += n
	return [][]byte{fmt.Appendf(nil, "transferred %s %s %d: %d %d", from, to, n, d.accounts[from], d.accounts[to])}, nil
}

// Query implements host.Queryable.
func (d *Daemon) Query(request []byte) ([]byte, error) {
	words := strings.Fields(string(request))
	switch {
	case len(words) == 2 && words[0] == "balance":
		n, ok := d.accounts[words[1]]
		if !ok {
			return nil, fmt.Errorf("no account %.70s", words[1])
		}
		return fmt.Appendf(nil, "%d\n", n), nil
	case len(words) == 1 && words[0] == "total":
		return fmt.Appendf(nil, "%d\n", d.total), nil
	case len(words) == 1 && words[0] == "accounts":
		if len(d.accounts) > maxListed {
			return nil, fmt.Errorf("%d accounts are more than fit an answer: ask for single balances", len(d.accounts))
		}
		var b []byte
		for _, name := range slices.Sorted(maps.Keys(d.accounts)) {
			b = fmt.Appendf(b, "%s %d\n", name, d.accounts[name])
		}
		return b, nil
	}
	return nil, errors.New("ask: balance NAME, total, or accounts")
}

// CanonicalSnapshot implements host.Canonical.
func (d *Daemon) CanonicalSnapshot() bool { return true }

// Snapshot implements host.Stateful: every account in order of its name, as
// the name's length (1 byte), the name and the amount (8 bytes, big-endian).
func (d *Daemon) Snapshot() ([]byte, error) {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(d.accounts)) {
		b = append(append(b, byte(len(name))), name...)
		b = binary.BigEndian.AppendUint64(b, d.accounts[name])
	}
	return b, nil
}

// Restore implements host.Stateful.
func (d *Daemon) Restore(state []byte) error {
	fresh := New()
	var last []byte
	for rest := state; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n > MaxName || len(rest) < 1+n+8 {
			return errors.New("the ledger's snapshot is cut or malformed")
		}
		name, value := rest[1:1+n], binary.BigEndian.Uint64(rest[1+n:])
		if last != nil && bytes.Compare(last, name) >= 0 || value > math.MaxInt64-fresh.total || len(fresh.accounts) >= MaxAccounts {
			return errors.New("the ledger's snapshot is out of order or beyond its limits")
		}
		fresh.accounts[string(name)] = value
		fresh.total += value
		last, rest = name, rest[1+n+8:]
	}
	*d = *fresh
	return nil
}
