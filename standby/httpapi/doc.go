// Package httpapi is a member's HTTP API, for clients and operators.
//
// Any member takes any call. What only the active can do (events, queries that
// must be current, sync, switchover, step-down, proofs, tree heads, sessions) a
// member forwards over the authenticated peer network, with what the caller
// may do; what any member knows (status, history, outputs, stale queries, the
// founding record) it answers itself. docs/api.md is the contract.
//
// A process serves two handlers. [New] is for clients: it knows tokens and
// refuses plain text from other machines. [Peer] is for the other members,
// whose connections are authenticated before a byte of HTTP is read; it never
// forwards, so a call makes at most one hop.
//
//	api, err := httpapi.New(httpapi.Config{Group: g, Forward: g.ForwardTo(), Tokens: tokens})
//	g.ServePeers(httpapi.Peer(httpapi.Config{Group: g}))
//	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
//
// The server must not set ReadTimeout or WriteTimeout: streams live longer. The
// handler sets deadlines of its own around every read of a body and every write
// of a stream.
package httpapi
