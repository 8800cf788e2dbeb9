//go:build race

package chain_test

// The race detector drops pooled values at random.
const raceEnabled = true
