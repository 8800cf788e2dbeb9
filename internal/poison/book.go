// Package poison remembers which events killed the process. Before each call of
// a daemon's Process a member notes the event, in a page that the kernel keeps
// when the process dies; a note that is still there at the next start is a
// death. Deaths are kept in a small file until their event is processed after
// all, or for a day. What is to be done about an event that kills is decided
// elsewhere.
package poison

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Death is an event in whose Process this member's process died. It travels to
// the other members as JSON.
type Death struct {
	Input    chain.Hash `json:"input"`
	Producer string     `json:"producer,omitempty"` // for people: in UTF-8, whatever its bytes are
	Sequence uint64     `json:"sequence,omitempty"`
	Replay   bool       `json:"replay,omitempty"` // of a committed event
	Seq      uint64     `json:"seq"`              // where it was processed, the newest time
	Term     uint64     `json:"term"`
	Count    uint32     `json:"count"` // processes
	Time     int64      `json:"time"`  // unix ns, when the newest was found
}

// Name is the event for people.
func (d *Death) Name() string {
	if d.Producer == "" {
		return fmt.Sprintf("an event without a number (digest %.12s)", d.Input)
	}
	return fmt.Sprintf("event %d of producer %q", d.Sequence, d.Producer)
}

// Bounds of what is remembered.
const (
	MaxDeaths = 64
	Lifetime  = 24 * time.Hour
)

// maxName is of a producer's name in a list. Lists of older versions have three
// bytes, U+FFFD, for each that is no UTF-8.
const maxName = 3 * chain.MaxProducer

// Names of the files, and the most that is read of them.
const (
	noteFile   = "note"
	deathsFile = "deaths"
	maxNote    = 1 << 16
	maxDeaths  = 1 << 20
)

// Book is a member's notes and deaths. It is safe for concurrent use.
type Book struct {
	fs    durable.FS
	page  durable.Scratch
	some  atomic.Bool // there are deaths
	mu    sync.Mutex
	free  []int
	own   []Death
	dirty bool
}

// Open reads what the last process left behind, counts its deaths, and begins
// with a clean page. Found are the deaths that are new. Files that are damaged
// hold nothing.
func Open(dir durable.FS, now int64) (b *Book, found []Death, err error) {
	b = &Book{fs: dir}
	if err := dir.MkdirAll("."); err != nil {
		return nil, nil, err
	}
	if b.own, err = readDeaths(dir); err != nil {
		return nil, nil, err
	}
	old := len(b.own)
	b.own = slices.DeleteFunc(b.own, func(d Death) bool { return now-d.Time > int64(Lifetime) })
	page, err := dir.ReadFile(noteFile, maxNote)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, durable.ErrTooLarge) {
		return nil, nil, err
	}
	for ; len(page) >= slotSize; page = page[slotSize:] {
		if a, ok := ParseNote(page[:slotSize]); ok {
			found = append(found, b.count(&a, now))
		}
	}
	b.some.Store(len(b.own) > 0)
	if len(found) > 0 || len(b.own) != old { // before the notes go
		if err := write(dir, b.own); err != nil {
			return nil, nil, err
		}
	}
	if b.page, err = dir.Scratch(noteFile, pageSize); err != nil {
		return nil, nil, err
	}
	if _, err := b.page.WriteAt(make([]byte, pageSize), 0); err != nil {
		b.page.Close()
		return nil, nil, err
	}
	for i := range slots {
		b.free = append(b.free, slots-1-i)
	}
	return b, found, nil
}

func readDeaths(dir durable.FS) ([]Death, error) {
	data, err := durable.ReadSealed(dir, deathsFile, maxDeaths)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, durable.ErrDamaged), errors.Is(err, durable.ErrTooLarge):
		return nil, nil
	case err != nil:
		return nil, err
	}
	ds, err := ParseDeaths(data)
	if err != nil {
		return nil, nil
	}
	return ds, nil
}

// ParseDeaths reads a list of deaths, of the file or from another member.
func ParseDeaths(data []byte) ([]Death, error) {
	var ds []Death
	if err := json.Unmarshal(data, &ds); err != nil {
		return nil, err
	}
	if err := Check(ds); err != nil {
		return nil, err
	}
	return ds, nil
}

// Check says whether a list could be a member's.
func Check(ds []Death) error {
	if len(ds) > MaxDeaths {
		return fmt.Errorf("%d deaths, at most %d are remembered", len(ds), MaxDeaths)
	}
	for i := range ds {
		if d := &ds[i]; d.Count == 0 || len(d.Producer) > maxName || (d.Producer == "") != (d.Sequence == 0) {
			return fmt.Errorf("death %d makes no sense", i)
		}
	}
	return nil
}

// count adds a death.
func (b *Book) count(a *Attempt, now int64) Death {
	i := slices.IndexFunc(b.own, func(d Death) bool {
		return d.Input == a.Input && d.Replay == a.Replay && (!d.Replay || d.Seq == a.Seq)
	})
	if i < 0 {
		if len(b.own) == MaxDeaths { // the oldest goes
			b.own = slices.Delete(b.own, 0, 1)
		}
		name := strings.ToValidUTF8(a.Producer, "?") // a name is any bytes, JSON is not
		b.own = append(b.own, Death{Input: a.Input, Producer: name, Sequence: a.Sequence, Replay: a.Replay})
		i = len(b.own) - 1
	}
	d := b.own[i]
	d.Seq, d.Term, d.Time = a.Seq, a.Term, now
	d.Count++
	b.own = append(slices.Delete(b.own, i, i+1), d)
	return d
}

// Deaths are those that are remembered, oldest first.
func (b *Book) Deaths() []Death {
	if !b.some.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.own)
}

// Forget drops the deaths for which f says so. It costs nothing if there are none.
func (b *Book) Forget(f func(*Death) bool) {
	if !b.some.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := len(b.own)
	b.own = slices.DeleteFunc(b.own, func(d Death) bool { return f(&d) })
	if len(b.own) != old {
		b.dirty = true
	}
	b.some.Store(len(b.own) > 0)
}

// Save makes what was forgotten durable. It may come late: what is not yet
// forgotten then is forgotten again.
func (b *Book) Save() error {
	b.mu.Lock()
	if !b.dirty {
		b.mu.Unlock()
		return nil
	}
	own := slices.Clone(b.own)
	b.dirty = false
	b.mu.Unlock() // who forgets does not wait for the disk
	err := write(b.fs, own)
	if err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
	}
	return err
}

func write(dir durable.FS, ds []Death) error {
	data, err := json.Marshal(ds)
	if err != nil {
		return err
	}
	return durable.WriteSealed(dir, deathsFile, data)
}

// Pen is for one goroutine that calls Process, for new events or for a replay.
func (b *Book) Pen(replay bool) *Pen {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &Pen{b: b, slot: -1, replay: replay}
	if n := len(b.free); n > 0 {
		p.slot, b.free = b.free[n-1], b.free[:n-1]
	}
	return p
}

func (b *Book) release(slot int) {
	if slot < 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, slot)
}

// Close saves and closes the files. Open notes stay.
func (b *Book) Close() error { return errors.Join(b.Save(), b.page.Close()) }
