package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Fault is what is done to a group.
type Fault string

// The faults.
const (
	Kill       Fault = "kill"
	Term       Fault = "term"
	Pause      Fault = "pause"
	Partition  Fault = "partition"
	OneWayIn   Fault = "one-way-in"
	OneWayOut  Fault = "one-way-out"
	DiskStall  Fault = "disk-stall"
	DiskFull   Fault = "disk-full"
	SlowNet    Fault = "slow-net"
	Clock      Fault = "clock"
	Corrupt    Fault = "corrupt"
	SyncKill   Fault = "sync-kill"
	Rolling    Fault = "rolling-restart"
	Switchover Fault = "switchover"
	StepDown   Fault = "step-down"
	Flap       Fault = "flap"
	AllDown    Fault = "all-down"
)

// Kind describes a fault.
type Kind struct {
	Fault  Fault
	Does   string // to the group
	Proves string

	means means
	lasts bool // its script has the producers send while it goes on
	run   func(context.Context, *stage) error
}

// means are what a fault is made with.
type means int

const (
	calls   means = iota // of the group's own API
	signals              // to the members' processes
	files                // of a stopped member
	proxies              // between the members
	seam                 // in the members, which take faults from the drill
)

// Needs says what the fault is made with.
func (k *Kind) Needs() string {
	return [...]string{"the API", "signals to the processes", "a stopped member's files", "proxies between the members", "members that a drill founded"}[k.means]
}

// Harmless faults may be done to a group in use: it is asked to do what its
// operators ask of it anyway.
func (k *Kind) Harmless() bool { return k.means == calls }

// Kinds lists the faults in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		{Kill, "kills the active's process (SIGKILL)", "a crash loses and doubles nothing", signals, false, kill},
		{Term, "stops the active in order (SIGTERM)", "an orderly stop hands over first", signals, false, term},
		{Pause, "freezes the active (SIGSTOP) until another one serves", "a zombie that wakes up changes nothing", signals, false, pause},
		{Partition, "cuts the active from the others, both ways", "the cut-off side stops, the majority serves", proxies, false, partition},
		{OneWayIn, "cuts what the others send to the active", "an active that hears nothing gives way", proxies, false, oneWayIn},
		{OneWayOut, "cuts what the active sends to the others", "an active that nobody hears is replaced", proxies, false, oneWayOut},
		{DiskStall, "lets no write of the active return", "an active with a stuck disk gives way", seam, false, diskStall},
		{DiskFull, "fails every write of the active: no space left", "a member that cannot write ends, another serves", seam, false, diskFull},
		{SlowNet, "delays and narrows every line between the members", "a slow network slows the group down, no more", proxies, false, slowNet},
		{Clock, "sets the active's wall clock off by an hour", "no order, term or outcome depends on a clock", seam, false, clock},
		{Corrupt, "flips a bit on a stopped standby's disk", "damage is found and healed, never served", files, true, corrupt},
		{SyncKill, "kills the active in the middle of a sync", "a half-made checkpoint is never used", signals, false, syncKill},
		{Rolling, "restarts every member in turn, the active last", "an upgrade costs no more than a handover", signals, true, rollingRestart},
		{Switchover, "hands the active role to another member", "a planned handover costs milliseconds", calls, false, switchover},
		{StepDown, "has the active give its role up", "the role moves without a target being named", calls, false, stepDown},
		{Flap, "cuts and mends the active's lines again and again", "an unsteady network does not wedge the group", proxies, true, flap},
		{AllDown, "kills every member at once and starts them again", "what was acknowledged is on the disks", signals, false, allDown},
	}
}

// kind finds a fault.
func kind(f Fault) (Kind, error) {
	ks := Kinds()
	if i := slices.IndexFunc(ks, func(k Kind) bool { return k.Fault == f }); i >= 0 {
		return ks[i], nil
	}
	return Kind{}, fmt.Errorf("fault %.30q: use one of %s", f, strings.Join(names(ks), ", "))
}

func names(ks []Kind) []string {
	out := make([]string, len(ks))
	for i, k := range ks {
		out[i] = string(k.Fault)
	}
	return out
}

// ParseFaults reads a list of faults, each of which is done once; "all" is
// every one.
func ParseFaults(list []string) ([]Fault, error) {
	var out []Fault
	add := func(f Fault) {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	for _, s := range list {
		if s == "all" {
			for _, k := range Kinds() {
				add(k.Fault)
			}
			continue
		}
		if _, err := kind(Fault(s)); err != nil {
			return nil, err
		}
		add(Fault(s))
	}
	return out, nil
}
