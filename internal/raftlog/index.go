package raftlog

// place is where an entry is: its segment, and its first byte and size there,
// counted without the heads of sectors.
type place struct{ segment, pos, size uint32 }

// index is which entries the log holds, first to last, and where. While the log
// is read at the opening, places before base may be of segments that are gone.
type index struct {
	first, last uint64 // 0: none
	base        uint64
	at          []place
}

// keep forgets all entries but first to last.
func (x *index) keep(first, last uint64) {
	if last == 0 || len(x.at) > 0 && last < x.base {
		x.at = nil
	} else if n := last + 1 - x.base; n < uint64(len(x.at)) {
		x.at = x.at[:n]
	}
	if len(x.at) > 0 && first > x.base {
		x.at = x.at[min(first-x.base, uint64(len(x.at))):]
		x.base = first
	}
	x.first, x.last = first, last
}

func (x *index) add(start uint64, at []place) {
	if len(at) == 0 {
		return
	}
	if x.last == 0 {
		x.first = start
	}
	if len(x.at) == 0 {
		x.base = start
	}
	x.at = append(x.at, at...)
	x.last = start + uint64(len(at)) - 1
}

// whole says whether every entry has a place.
func (x *index) whole() bool {
	return x.last == 0 || x.base == x.first && uint64(len(x.at)) == x.last-x.first+1
}

func (x *index) find(i uint64) (place, bool) {
	if x.last == 0 || i < x.first || i > x.last {
		return place{}, false
	}
	return x.at[i-x.base], true
}
