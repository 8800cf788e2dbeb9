package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// A floor's load comes over the plainest protocol there is: a batch is its
// number of events (4 bytes) and each event's length (4 bytes) and bytes; the
// answer is one byte, 1 if it is committed. A batch of no events asks how the
// member is: the answer is 1 if it leads, the bytes that it wrote to files and sent
// to the others, and its fsyncs (8 bytes each). Numbers are big-endian.

// serveFloor answers on a listener until it is closed.
func serveFloor(l net.Listener, f *floor) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serveConn(c, f)
		}()
	}
}

func serveConn(c net.Conn, f *floor) error {
	r := bufio.NewReaderSize(c, 64<<10)
	var batch [][]byte
	for {
		n, err := number(r, MaxBatch)
		if err != nil {
			return err
		}
		if n == 0 {
			u := f.counted()
			answer := []byte{truth(f.leads())}
			for _, v := range []uint64{u.written, u.sent, u.syncs} {
				answer = binary.BigEndian.AppendUint64(answer, v)
			}
			if _, err := c.Write(answer); err != nil {
				return err
			}
			continue
		}
		batch = batch[:0]
		for range n {
			size, err := number(r, MaxPayload)
			if err != nil {
				return err
			}
			b := make([]byte, size)
			if _, err := io.ReadFull(r, b); err != nil {
				return err
			}
			batch = append(batch, b)
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTime)
		err = f.call(ctx, batch)
		cancel()
		if err != nil {
			fmt.Fprintln(os.Stderr, "a batch was not committed:", err)
		}
		if _, err := c.Write([]byte{truth(err == nil)}); err != nil {
			return err
		}
	}
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func number(r io.Reader, most uint32) (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(b[:])
	if n > most {
		return 0, fmt.Errorf("%d where at most %d is allowed", n, most)
	}
	return n, nil
}

// floorConn is a caller's connection to a floor's leader.
type floorConn struct {
	c   net.Conn
	buf []byte
}

func dialFloor(ctx context.Context, addr string) (*floorConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	return &floorConn{c: c}, err
}

func (f *floorConn) call(ctx context.Context, batch [][]byte) error {
	f.buf = appendBatch(binary.BigEndian.AppendUint32(f.buf[:0], uint32(len(batch))), batch)
	var answer [1]byte
	if err := f.exchange(ctx, answer[:]); err != nil {
		return err
	}
	if answer[0] != 1 {
		return errors.New("the floor did not commit it")
	}
	return nil
}

// ask tells whether the member leads, and what it has used.
func (f *floorConn) ask(ctx context.Context) (leads bool, u usage, err error) {
	f.buf = append(f.buf[:0], 0, 0, 0, 0)
	var answer [25]byte
	err = f.exchange(ctx, answer[:])
	v := func(i int) uint64 { return binary.BigEndian.Uint64(answer[1+8*i:]) }
	return answer[0] == 1, usage{written: v(0), sent: v(1), syncs: v(2)}, err
}

func (f *floorConn) exchange(ctx context.Context, answer []byte) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(callTime)
	}
	f.c.SetDeadline(deadline)
	if _, err := f.c.Write(f.buf); err != nil {
		return err
	}
	_, err := io.ReadFull(f.c, answer)
	return err
}
