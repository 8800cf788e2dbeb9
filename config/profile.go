package config

import "time"

// Timing is how patient the members are with each other.
type Timing struct {
	Heartbeat time.Duration // silence after which a standby stands for election
	Election  time.Duration // how long an election may take
	Lease     time.Duration // silence of the others after which the active stops
}

// Profile is a timing with a name.
type Profile struct {
	Name   string
	Timing Timing
}

// Profiles lists those that the key profile can name, the fastest first.
func Profiles() []Profile {
	return []Profile{
		{"lan-fast", Timing{250 * time.Millisecond, 250 * time.Millisecond, 125 * time.Millisecond}},
		{"lan", Timing{time.Second, time.Second, 500 * time.Millisecond}},
		{"wan", Timing{3 * time.Second, 3 * time.Second, 1500 * time.Millisecond}},
	}
}

// profile finds a profile's timing; zero if there is none of that name.
func profile(name string) Timing {
	for _, p := range Profiles() {
		if p.Name == name {
			return p.Timing
		}
	}
	return Timing{}
}
