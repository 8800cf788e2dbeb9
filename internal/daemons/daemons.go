// Package daemons names the built-in daemons. Each is a complete service and
// the example of how to embed one: small, deterministic, with a canonical
// snapshot.
package daemons

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/host"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
	"github.com/understudy-ha/understudy/internal/daemons/ledger"
	"github.com/understudy-ha/understudy/internal/daemons/wordcount"
)

func all() map[string]func() host.Daemon {
	return map[string]func() host.Daemon{
		ledger.Name:    func() host.Daemon { return ledger.New() },
		kv.Name:        func() host.Daemon { return kv.New() },
		wordcount.Name: func() host.Daemon { return wordcount.New() },
	}
}

// Names lists the built-in daemons in order.
func Names() []string { return slices.Sorted(maps.Keys(all())) }

// New gives what makes the daemon of a name.
func New(name string) (func() host.Daemon, error) {
	if d, ok := all()[name]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("no built-in daemon %.40q: use one of %s", name, strings.Join(Names(), ", "))
}
