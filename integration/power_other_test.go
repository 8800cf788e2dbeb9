//go:build !linux

package integration

func ownDisks(s *stage) { s.t.Skip("the power of a disk is cut on Linux only") }

func powerCut(*soak) string { return "" }
