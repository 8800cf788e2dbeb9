// Package testkit makes founding records and keys for tests, the same in every
// run, so that origins and hashes in golden files stay. Members are called a, b,
// c and so on. The keys are public knowledge: never use them for a real group.
package testkit

import (
	"fmt"

	"github.com/understudy-ha/understudy/chain"
)

// MemberKeys are the private keys of a test member.
type MemberKeys struct {
	Log, Cosign chain.Keypair
	Box         chain.BoxKey
}

// Keys are the test member's keys, which follow from its name.
func Keys(member string) MemberKeys {
	seed := func(what string) []byte {
		h := chain.Derive("test key", []byte(what), []byte(member))
		return h[:]
	}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var k MemberKeys
	var err error
	k.Log, err = chain.KeypairFromSeed(seed("log"))
	must(err)
	k.Cosign, err = chain.KeypairFromSeed(seed("cosign"))
	must(err)
	k.Box, err = chain.BoxKeyFromSecret(seed("box"))
	must(err)
	return k
}

// Names are the first n members: a, b, c …
func Names(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = string(rune('a' + i))
	}
	return names
}

// Founding is the record of a test group of n voters.
func Founding(n int) *chain.Founding {
	f := &chain.Founding{Suite: 1, Time: 1_000_000_000, Group: fmt.Sprintf("test-%d", n), Settings: chain.DefaultSettings()}
	for _, name := range Names(n) {
		k := Keys(name)
		f.Roster.Members = append(f.Roster.Members, chain.RosterMember{
			Name: name, Flags: chain.Voter | chain.Cosigner, LogKey: k.Log.ID(), CosignKey: k.Cosign.ID(), BoxKey: k.Box.Public(),
		})
	}
	return f
}
