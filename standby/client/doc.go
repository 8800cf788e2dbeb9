// Package client speaks to a standby group over its HTTP API.
//
// It knows all members and finds the active by itself, again after every
// failover. Events of a named producer are numbered, sent ahead of their
// receipts over one connection, and sent again, with the same number, whenever
// their outcome is not known: the group applies each exactly once. An event
// that was handed over stays with the client until it is acknowledged, refused
// for good, or the client is closed.
//
//	c, err := client.New(client.Config{
//		Members:  []string{"https://a:7700", "https://b:7700", "https://c:7700"},
//		Producer: "till-7",
//		Token:    token,
//	})
//	receipt, err := c.Deliver(ctx, []byte("transfer A B 10"))
//
// A producer's name is its identity: no two clients may use one at the same
// time; the one that finds it out stops with [ErrNameInUse]. A client that
// starts anew under its old name goes on after the newest number that the group
// has of it, behind events of its last life that are still on their way.
// [Client.Session] tells that number: what was sent before and is at or below
// it was applied; what is above it may still be, while its connection's last
// bytes are on their way.
//
// Without a producer's name events are delivered at most once: those whose
// connection broke end as uncertain, those that the group had no room or no
// active for end with that error.
//
// Errors are package standby's: errors.Is with standby.ErrUncertain means that
// the event may have happened, every other error that it did not, except
// standby.ErrOldDuplicate, which means that it did.
package client
