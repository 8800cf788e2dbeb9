package faultproxy

import (
	"errors"
	"fmt"
)

// Mesh stands between all members of a group: a proxy for each pair of one who
// dials and one who is dialled.
type Mesh struct {
	addrs   map[string]string
	proxies map[[2]string]*Proxy // who dials, who is dialled
}

// NewMesh makes one for members by their real addresses.
func NewMesh(addrs map[string]string) (*Mesh, error) {
	m := &Mesh{addrs: addrs, proxies: make(map[[2]string]*Proxy)}
	for from := range addrs {
		for to, addr := range addrs {
			if from == to {
				continue
			}
			p, err := New("127.0.0.1:0", addr)
			if err != nil {
				return nil, errors.Join(err, m.Close())
			}
			m.proxies[[2]string{from, to}] = p
		}
	}
	return m, nil
}

// Peers are the addresses to tell one member: its own, and the others' through
// the mesh.
func (m *Mesh) Peers(member string) map[string]string {
	out := make(map[string]string, len(m.addrs))
	for name, addr := range m.addrs {
		if out[name] = addr; name != member {
			out[name] = m.proxies[[2]string{member, name}].Addr()
		}
	}
	return out
}

// Set rules what one member sends to another, whoever dialled.
func (m *Mesh) Set(from, to string, r Rule) {
	p, back := m.proxies[[2]string{from, to}], m.proxies[[2]string{to, from}]
	if p == nil || back == nil {
		panic(fmt.Sprintf("faultproxy: no members %q and %q", from, to))
	}
	p.SetRule(Forward, r)
	back.SetRule(Back, r)
}

// In rules what a member receives from all others.
func (m *Mesh) In(member string, r Rule) {
	for other := range m.addrs {
		if other != member {
			m.Set(other, member, r)
		}
	}
}

// Out rules what a member sends to all others.
func (m *Mesh) Out(member string, r Rule) {
	for other := range m.addrs {
		if other != member {
			m.Set(member, other, r)
		}
	}
}

// All rules everything.
func (m *Mesh) All(r Rule) {
	for member := range m.addrs {
		m.Out(member, r)
	}
}

// Close ends all proxies.
func (m *Mesh) Close() error {
	var errs []error
	for _, p := range m.proxies {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
