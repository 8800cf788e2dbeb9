package bench

import "time"

// usage is what a process, or several, have used since they began. What cannot
// be known is zero.
type usage struct {
	cpu     time.Duration
	rss     uint64 // bytes now; of several processes the largest
	written uint64 // bytes to files; the kernel's count has whole large pages
	sent    uint64 // bytes to the other members, as on the wire
	syncs   uint64
}

// plus is the usage of both.
func (u usage) plus(o usage) usage {
	return usage{u.cpu + o.cpu, max(u.rss, o.rss), u.written + o.written, u.sent + o.sent, u.syncs + o.syncs}
}

// since is what was used after an earlier moment.
func (u usage) since(o usage) usage {
	return usage{u.cpu - o.cpu, u.rss, u.written - o.written, u.sent - o.sent, u.syncs - o.syncs}
}
