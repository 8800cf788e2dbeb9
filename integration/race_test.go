//go:build race

package integration

// raced: the race detector watches the tests, and the processes under them.
const raced = true
