// Package kv is a built-in daemon: keys and values.
//
// Events are lines of text:
//
//	put KEY VALUE         the value is the rest of the line
//	delete KEY
//	cas KEY OLD NEW       compare and swap; OLD must be one word
//
// Each gives one output that tells what happened: "put KEY", "deleted KEY",
// "absent KEY", "swapped KEY", "kept KEY". Queries: "get KEY", "list [PREFIX]".
//
// The state is captured without copying: what a capture has seen is not
// changed any more, later changes go into a new layer above it, and the layers
// are merged after the capture is released. The capture is written sorted by
// key, so equal states give equal bytes.
package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/host"
)

// Name is the daemon's name.
const Name = "kv"

// Limits.
const (
	MaxKey    = 256
	MaxValue  = 64 << 10
	maxListed = 10_000 // keys in an answer
)

// value is what a key holds; absent hides a key of the layer below.
type value struct {
	text   string
	absent bool
}

// Daemon is a map of keys to values. Make one with New.
type Daemon struct {
	base map[string]string // not changed while a capture shares it
	over map[string]value  // what changed since that capture; nil without one
	out  *capture          // the capture that shares base, nil if there is none
}

// New makes an empty one.
func New() *Daemon { return &Daemon{base: make(map[string]string)} }

// Name implements host.Daemon.
func (d *Daemon) Name() string { return Name }

func (d *Daemon) get(k string) (string, bool) {
	if v, ok := d.over[k]; ok {
		return v.text, !v.absent
	}
	v, ok := d.base[k]
	return v, ok
}

func (d *Daemon) set(k string, v value) {
	switch {
	case d.over != nil:
		d.over[k] = v
	case v.absent:
		delete(d.base, k)
	default:
		d.base[k] = v.text
	}
}

// Process implements host.Daemon.
func (d *Daemon) Process(ev chain.Event) ([][]byte, error) {
	d.settle()
	verb, rest, _ := strings.Cut(string(ev.Payload), " ")
	key, rest, more := strings.Cut(rest, " ")
	if err := checkKey(key); err != nil {
		return nil, err
	}
	switch {
	case verb == "put" && more:
		if len(rest) > MaxValue {
			return nil, fmt.Errorf("the value has %d bytes, at most %d are allowed", len(rest), MaxValue)
		}
		d.set(key, value{text: rest})
		return [][]byte{[]byte("put " + key)}, nil
	case verb == "delete" && !more:
		if _, there := d.get(key); !there {
			return [][]byte{[]byte("absent " + key)}, nil
		}
		d.set(key, value{absent: true})
		return [][]byte{[]byte("deleted " + key)}, nil
	case verb == "cas" && more:
		old, fresh, ok := strings.Cut(rest, " ")
		if !ok || len(fresh) > MaxValue {
			return nil, errors.New("write: cas KEY OLD NEW")
		}
		if now, there := d.get(key); !there || now != old {
			return [][]byte{[]byte("kept " + key)}, nil
		}
		d.set(key, value{text: fresh})
		return [][]byte{[]byte("swapped " + key)}, nil
	}
	return nil, errors.New("write: put KEY VALUE, delete KEY, or cas KEY OLD NEW")
}

func checkKey(k string) error {
	if k == "" || len(k) > MaxKey || strings.ContainsAny(k, "\n\x00") {
		return fmt.Errorf("a key has 1 to %d bytes, without spaces and line ends", MaxKey)
	}
	return nil
}

// Query implements host.Queryable.
func (d *Daemon) Query(request []byte) ([]byte, error) {
	verb, arg, _ := strings.Cut(strings.TrimRight(string(request), "\n"), " ")
	switch verb {
	case "get":
		v, ok := d.get(arg)
		if !ok {
			return nil, fmt.Errorf("no key %.80q", arg)
		}
		return []byte(v + "\n"), nil
	case "list":
		var keys []string
		add := func(k string) {
			if strings.HasPrefix(k, arg) {
				keys = append(keys, k)
			}
		}
		for k := range d.base {
			if _, changed := d.over[k]; !changed {
				add(k)
			}
		}
		for k, v := range d.over {
			if !v.absent {
				add(k)
			}
		}
		if len(keys) > maxListed {
			return nil, fmt.Errorf("%d keys are more than fit an answer: ask for a longer prefix", len(keys))
		}
		slices.Sort(keys)
		var b []byte
		for _, k := range keys {
			v, _ := d.get(k)
			b = fmt.Appendf(b, "%s %s\n", k, v)
		}
		return b, nil
	}
	return nil, errors.New("ask: get KEY, or list [PREFIX]")
}

// CanonicalSnapshot implements host.Canonical.
func (d *Daemon) CanonicalSnapshot() bool { return true }

// capture is a layer that nobody changes.
type capture struct {
	layer    map[string]string
	released atomic.Bool
}

// Capture implements host.Streamer. While one capture shares the layer, a
// further one gets a copy.
func (d *Daemon) Capture() (host.Capture, error) {
	d.settle()
	if d.out != nil {
		layer := maps.Clone(d.base)
		merge(layer, d.over)
		return &capture{layer: layer}, nil
	}
	d.out, d.over = &capture{layer: d.base}, make(map[string]value)
	return d.out, nil
}

// Release implements host.Capture. It is called from any goroutine; the daemon
// takes its layer back at the next event.
func (c *capture) Release() { c.released.Store(true) }

// settle takes the shared layer back once nobody reads it any more. It costs
// as much as was changed meanwhile.
func (d *Daemon) settle() {
	if d.out != nil && d.out.released.Load() {
		merge(d.base, d.over)
		d.out, d.over = nil, nil
	}
}

func merge(layer map[string]string, over map[string]value) {
	for k, v := range over {
		if v.absent {
			delete(layer, k)
		} else {
			layer[k] = v.text
		}
	}
}

// WriteTo implements io.WriterTo: every key in order, as the lengths of key (2
// bytes) and value (4 bytes), big-endian, and both.
func (c *capture) WriteTo(w io.Writer) (int64, error) {
	b := bufio.NewWriterSize(w, 64<<10)
	var n int64
	for _, k := range slices.Sorted(maps.Keys(c.layer)) {
		v := c.layer[k]
		var head [6]byte
		binary.BigEndian.PutUint16(head[:], uint16(len(k)))
		binary.BigEndian.PutUint32(head[2:], uint32(len(v)))
		b.Write(head[:])
		b.WriteString(k)
		b.WriteString(v)
		n += int64(len(head) + len(k) + len(v))
	}
	return n, b.Flush()
}

// RestoreFrom implements host.Streamer.
func (d *Daemon) RestoreFrom(r io.Reader) error {
	fresh, b, last := New(), bufio.NewReaderSize(r, 64<<10), ""
	for {
		var head [6]byte
		if _, err := io.ReadFull(b, head[:]); err == io.EOF {
			*d = *fresh
			return nil
		} else if err != nil {
			return fmt.Errorf("the snapshot is cut: %w", err)
		}
		k, v := int(binary.BigEndian.Uint16(head[:])), int(binary.BigEndian.Uint32(head[2:]))
		if k > MaxKey || v > MaxValue {
			return fmt.Errorf("the snapshot has a key of %d bytes and a value of %d", k, v)
		}
		buf := make([]byte, k+v)
		if _, err := io.ReadFull(b, buf); err != nil {
			return fmt.Errorf("the snapshot is cut: %w", err)
		}
		key := string(buf[:k])
		if err := checkKey(key); err != nil || key <= last {
			return fmt.Errorf("the snapshot has the key %.80q out of order or malformed", key)
		}
		fresh.base[key], last = string(buf[k:]), key
	}
}
