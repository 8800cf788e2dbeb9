package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// Role is what a caller may do: one of the roles or several.
type Role uint8

// The roles. Each may also see the status, the history, proofs and heads;
// Audit may do nothing else.
const (
	Read    Role = 1 << iota // query, outputs
	Deliver                  // events, session
	Operate                  // everything
	Audit
)

const anyRole = Read | Deliver | Operate | Audit

var roleNames = []struct {
	role Role
	name string
}{{Read, "read"}, {Deliver, "deliver"}, {Operate, "operate"}, {Audit, "audit"}}

func (r Role) String() string {
	var names []string
	for _, n := range roleNames {
		if r&n.role != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRole reads role names, separated by commas: "read,deliver".
func ParseRole(s string) (Role, error) {
	var r Role
next:
	for name := range strings.SplitSeq(s, ",") {
		for _, n := range roleNames {
			if strings.TrimSpace(name) == n.name {
				r |= n.role
				continue next
			}
		}
		return 0, fmt.Errorf("unknown role %.40q: use read, deliver, operate or audit", name)
	}
	return r, nil
}

// keyring is the tokens. It keeps their digests only.
type keyring []struct {
	digest [sha256.Size]byte
	role   Role
}

func newKeyring(tokens map[string]Role) (keyring, error) {
	var k keyring
	for t, role := range tokens {
		if len(t) < 16 {
			return nil, errors.New("httpapi: a token has fewer than 16 characters: use a random one of 32")
		}
		if role == 0 || role&^anyRole != 0 {
			return nil, errors.New("httpapi: a token has no role: give it read, deliver, operate or audit")
		}
		k = append(k, struct {
			digest [sha256.Size]byte
			role   Role
		}{sha256.Sum256([]byte(t)), role})
	}
	return k, nil
}

// role compares with every token, so that the time tells nothing.
func (k keyring) role(token string) Role {
	var role Role
	d := sha256.Sum256([]byte(token))
	for i := range k {
		mask := byte(subtle.ConstantTimeCompare(d[:], k[i].digest[:]))
		role |= Role(-mask) & k[i].role
	}
	return role
}

// who says what the caller may do; a problem says why nothing.
func (a *api) who(r *http.Request) (Role, error) {
	if a.peer {
		role, err := ParseRole(r.Header.Get(wire.HeaderRole))
		if err != nil {
			return 0, wire.Problemf(wire.Unauthorized, "forward with the caller's role", "a forwarded call must say what its caller may do: %v", err)
		}
		return role, nil
	}
	local := loopback(r.RemoteAddr)
	if r.TLS == nil && !local && !a.cfg.Insecure {
		p := wire.Problemf(wire.Unauthorized, "use https, or set insecure: true on the member", "plain text is accepted from this machine only")
		p.Forbidden = true
		return 0, p
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && a.cfg.Certificate != nil {
		if role := a.cfg.Certificate(r.TLS.PeerCertificates[0]); role != 0 {
			return role, nil
		}
	}
	if len(a.keys) > 0 {
		kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(kind, "Bearer") || token == "" {
			return 0, wire.Problemf(wire.Unauthorized, "send the header Authorization: Bearer TOKEN", "a token is needed")
		}
		if role := a.keys.role(strings.TrimSpace(token)); role != 0 {
			return role, nil
		}
		return 0, wire.Problemf(wire.Unauthorized, "ask the operator of this member for a token", "unknown token")
	}
	// A web page must not reach the API by having its own name resolve to this
	// machine: then the browser sends that name.
	if a.cfg.Insecure || local && localName(r.Host) {
		return anyRole, nil
	}
	return 0, wire.Problemf(wire.Unauthorized, "configure tokens on this member", "this member has no tokens: it serves callers on its own machine, by address or as localhost")
}

func loopback(remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func localName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
