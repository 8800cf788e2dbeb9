package bench

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/hashicorp/raft"
)

// The packer's bounds: entries as large as the product's by default, and as few
// on their way as are enough to keep the disks busy, because then each takes
// more with it. It is the floor: it is to be as fast as it can be.
const (
	packSteps  = 1024
	packBytes  = 256 << 10
	packFlying = 4
)

// packer puts the batches that wait together into one entry and keeps several
// entries on their way, as the product's active does.
type packer struct {
	raft  *raft.Raft
	in    chan *packed
	quit  chan struct{}
	ended chan struct{}
}

type packed struct {
	batch [][]byte
	err   error
	done  chan struct{}
}

// flight is a proposed entry and who waits for it.
type flight struct {
	future raft.ApplyFuture
	calls  []*packed
}

func newPacker(r *raft.Raft) *packer {
	p := &packer{raft: r, in: make(chan *packed, 8192), quit: make(chan struct{}), ended: make(chan struct{})}
	flights := make(chan flight, packFlying)
	slots := make(chan struct{}, packFlying)
	go p.propose(flights, slots)
	go func() {
		defer close(p.ended)
		for f := range flights {
			err := f.future.Error()
			for _, c := range f.calls {
				c.err = err
				close(c.done)
			}
			<-slots
		}
	}()
	return p
}

func (p *packer) propose(flights chan<- flight, slots chan struct{}) {
	defer close(flights)
	for {
		var f flight
		var entry []byte
		steps := 0
		select {
		case slots <- struct{}{}:
		case <-p.quit:
			return
		}
		take := func(c *packed) {
			f.calls = append(f.calls, c)
			steps += len(c.batch)
			entry = appendBatch(entry, c.batch)
		}
		select {
		case c := <-p.in:
			take(c)
		case <-p.quit:
			return
		}
		for more := true; more && steps < packSteps && len(entry) < packBytes; {
			select {
			case c := <-p.in:
				take(c)
			default:
				more = false
			}
		}
		f.future = p.raft.Apply(entry, callTime)
		flights <- f
	}
}

func (p *packer) call(ctx context.Context, batch [][]byte) error {
	c := &packed{batch: batch, done: make(chan struct{})}
	select {
	case p.in <- c:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-c.done:
		return c.err
	case <-p.ended:
		return errors.New("the floor is closing")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *packer) close() { close(p.quit) }

func appendBatch(b []byte, batch [][]byte) []byte {
	for _, e := range batch {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(e))), e...)
	}
	return b
}
