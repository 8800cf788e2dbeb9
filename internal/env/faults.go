package env

import "time"

// Faults stand in front of one member's writes and of its wall clock. Only the
// members of a drill have them.
type Faults struct {
	Write func() error // before each write and sync; may take its time
	Now   func() time.Time
}
