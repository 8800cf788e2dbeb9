package peernet

import (
	"net"
	"slices"
	"sync"
)

// maxKnocks bounds the connections that have not said yet who they are.
const maxKnocks = 256

// knocks are those connections, the oldest first. When there are too many the
// oldest is shut out: a member says who it is within milliseconds, strangers
// that say nothing cannot keep it out.
type knocks struct {
	mu   sync.Mutex
	open []net.Conn
	shut bool
}

func (k *knocks) add(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shut {
		c.Close()
		return
	}
	if len(k.open) == maxKnocks {
		k.open[0].Close()
		k.open = slices.Delete(k.open, 0, 1)
	}
	k.open = append(k.open, c)
}

func (k *knocks) remove(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.Index(k.open, c); i >= 0 {
		k.open = slices.Delete(k.open, i, i+1)
	}
}

func (k *knocks) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.open {
		c.Close()
	}
	k.open, k.shut = nil, true
}
