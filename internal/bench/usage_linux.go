package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the kernel's unit of processor time; it is 100 a second on every
// Linux that Go runs on.
const tick = 10 * time.Millisecond

// usageOf reads what the kernel knows of a process.
func usageOf(pid int) (u usage, err error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	f := strings.Fields(rest)
	if len(f) < 22 {
		return u, fmt.Errorf("%sstat has %d fields", dir, len(f))
	}
	number := func(s string) uint64 {
		n, _ := strconv.ParseUint(s, 10, 64)
		return n
	}
	u.cpu = time.Duration(number(f[11])+number(f[12])) * tick // utime, stime
	u.rss = number(f[21]) * uint64(os.Getpagesize())
	return u, nil
}

// loadAverage is the machine's over the last minute.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}
