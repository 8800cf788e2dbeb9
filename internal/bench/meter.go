package bench

import (
	"context"
	"errors"
	"os"
	"runtime/pprof"
)

// meter reads what is used within the window, and takes profiles of it.
type meter struct {
	s             system
	w             window
	profile       string // files to write, without their end; empty: none
	members, load usage
	err           error
	done          chan struct{}
}

func (m *meter) read(ctx context.Context) {
	defer close(m.done)
	m.err = m.measure(ctx)
}

func (m *meter) measure(ctx context.Context) error {
	if !until(ctx, m.w.begin) {
		return nil
	}
	stop, err := startProfile(m.profile)
	if err != nil {
		return err
	}
	before, err := m.both(ctx)
	if err != nil {
		return errors.Join(err, stop())
	}
	ok := until(ctx, m.w.end)
	if err := stop(); err != nil || !ok {
		return err
	}
	after, err := m.both(ctx)
	m.members, m.load = after[0].since(before[0]), after[1].since(before[1])
	return err
}

// both is the usage of the members and of the load. Embedded they are one.
func (m *meter) both(ctx context.Context) (u [2]usage, err error) {
	if u[0], err = m.s.usage(ctx); err != nil {
		return u, err
	}
	switch m.s.(type) {
	case *embedded, *floorEmbedded:
		return u, nil
	}
	u[1], err = usageOf(os.Getpid())
	return u, err
}

// startProfile begins a CPU profile; the function that it returns ends it and
// writes the allocations since the process began beside it.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(name + ".cpu.pprof")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(name + ".allocs.pprof")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close(), cpu.Close())
	}, nil
}

// Profiled runs f under a CPU profile, for a member's process.
func Profiled(name string, f func() error) error {
	stop, err := startProfile(name)
	if err != nil {
		return err
	}
	return errors.Join(f(), stop())
}
