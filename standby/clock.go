package standby

import "time"

// clock is the time that one activation records: the wall clock's at its start,
// and from then on the monotonic one's, drawn towards the wall clock by at most
// a tenth of what passes. A wall clock that is set while a member is active
// moves recorded time only slowly, and so no producer of events is forgotten
// because of it. Owned by the active loop.
type clock struct {
	wall func() int64 // ns
	now  int64
	at   time.Time // when now was
}

func newClock(wall func() int64) *clock { return &clock{wall, wall(), time.Now()} }

func (c *clock) read() int64 {
	at := time.Now()
	passed := int64(at.Sub(c.at))
	c.at, c.now = at, c.now+passed
	c.now += max(-passed/10, min(c.wall()-c.now, passed/10))
	return c.now
}
