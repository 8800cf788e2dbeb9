package fsm

import (
	"errors"
	"fmt"
	"sort"

	"github.com/understudy-ha/understudy/chain"
)

// JournalEntry is a committed entry that made links. It is kept as it came:
// read, its steps would take as much room again, and the garbage collector would
// follow them for as long as the journal keeps them.
type JournalEntry struct {
	Index uint64
	First uint64 // seq of the first link
	Data  []byte // in the log
	steps int
	time  int64
	last  chain.Hash
}

// Entry reads the entry. Its ordinal is 0 if it came in an image.
func (j *JournalEntry) Entry() (*Entry, error) {
	e, err := ParseEntry(j.Data)
	if err != nil {
		return nil, fmt.Errorf("journal entry at seq %d: %w", j.First, err)
	}
	return e, nil
}

// links is how many links the entry made.
func (j *JournalEntry) links() uint64 { return uint64(max(j.steps, 1)) }

// Extend makes the links of an entry anew, after those up to the tip. The last
// one must be the recorded one, which covers all before it; else the error says
// where the history differs, and the tip is of no more use.
func (e *Entry) Extend(tip *chain.Tip) error {
	if e.First != tip.Head.Size() {
		return fmt.Errorf("journal entry at seq %d after seq %d", e.First, tip.Head.Seq())
	}
	extend := func(d chain.Draft) {
		link := tip.Next(d)
		tip.Extend(&link, link.Hash())
	}
	if e.Kind != Batch {
		extend(e.draft())
	}
	for i := range e.Steps {
		extend(e.Steps[i].draft(e.Term, tip.Head.Link.Outputs, i == len(e.Steps)-1))
	}
	if tip.Head.Hash != e.Last {
		return fmt.Errorf("journal entry at seq %d ends in link %.8s, recorded is %.8s", e.First, tip.Head.Hash, e.Last)
	}
	return nil
}

// journal is the committed entries with links from seq from on. Entries are
// never changed, so readers may keep slices of it.
type journal struct {
	entries []JournalEntry
	from    uint64
	steps   int
	bytes   int
}

// ErrPruned: the journal no longer reaches back so far.
var ErrPruned = errors.New("the journal is pruned")

// add keeps an entry, of which data is the encoding.
func (j *journal) add(index uint64, e *Entry, data []byte) {
	j.entries = append(j.entries, JournalEntry{Index: index, First: e.First, Data: data, steps: len(e.Steps), time: e.Time, last: e.Last})
	j.steps += len(e.Steps)
	j.bytes += len(data)
}

// find is the index of the first entry whose links reach seq or beyond.
func (j *journal) find(seq uint64) int {
	return sort.Search(len(j.entries), func(i int) bool { return j.entries[i].First+j.entries[i].links() > seq })
}

// lastAt is the hash of the link at seq if an entry ends there.
func (j *journal) lastAt(seq uint64) (chain.Hash, bool) {
	i := j.find(seq)
	if i == len(j.entries) || j.entries[i].First+j.entries[i].links()-1 != seq {
		return chain.Hash{}, false
	}
	return j.entries[i].last, true
}

// prune drops the entries before seq from.
func (j *journal) prune(from uint64) {
	i := j.find(from)
	if i == 0 || from <= j.from {
		return
	}
	for k := range j.entries[:i] {
		j.steps -= j.entries[k].steps
		j.bytes -= len(j.entries[k].Data)
	}
	j.entries = append([]JournalEntry(nil), j.entries[i:]...) // lets the old ones go
	j.from = from
}

// Journal is the committed entries whose links are at seq from and after, with
// their boundaries. from must be the first link of an entry.
func (s *State) Journal(from uint64) ([]JournalEntry, error) {
	if from < s.journal.from {
		return nil, fmt.Errorf("%w: it begins at seq %d, %d was asked for", ErrPruned, s.journal.from, from)
	}
	es := s.journal.entries[s.journal.find(from):]
	return es[:len(es):len(es)], nil
}

// JournalSize is the number of steps and bytes in the journal.
func (s *State) JournalSize() (steps, bytes int) { return s.journal.steps, s.journal.bytes }

// SyncedAt is the time from which a checkpoint is due: of the newest one, or of
// the first handoff; unix ns.
func (s *State) SyncedAt() int64 {
	if n := len(s.checks); n > 0 {
		return s.checks[n-1].Time
	}
	if len(s.journal.entries) > 0 {
		return s.journal.entries[0].time
	}
	return s.tip.Head.Link.Time
}
