package fsm_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/fsm"
	"github.com/understudy-ha/understudy/internal/testkit"
)

// benchSteps is the size of a batch.
const benchSteps = 128

// entries are committed batches of 128-byte events from a few producers with
// one output each, encoded, and the state before them.
func benchEntries(b *testing.B, n int) (*fsm.State, [][]byte) {
	f := testkit.Founding(3)
	a := &active{t: new(testing.T), f: f, seqs: map[string]uint64{}}
	var err error
	a.tip, err = chain.Genesis(f)
	require.NoError(b, err)
	s, err := fsm.NewState(f)
	require.NoError(b, err)
	a.states = []*fsm.State{s}
	require.Equal(b, fsm.Accepted, a.promote("a", 1).Status)
	var out [][]byte
	for range n {
		var batch []fsm.Step
		for i := range benchSteps {
			st := a.step(fmt.Sprintf("producer-%d", i/32), "put k012")
			st.Payload = make([]byte, 128)
			batch = append(batch, st)
		}
		e := a.batch(batch...)
		for i, st := range batch {
			d := chain.Draft{
				Kind: chain.KindStep, Term: a.term, Time: st.Time, Producer: st.Producer, Input: chain.EventDigest(st.Producer, st.Sequence, st.Payload),
				NewOutputs: 1, OutputRoot: chain.OutputRoot(a.tip.Head.Link.Outputs+1, st.Outputs),
			}
			if i == len(batch)-1 {
				d.Flags = chain.Rooted
			}
			l := a.tip.Next(d)
			require.NoError(b, a.tip.Append(&l))
		}
		a.ordinal++
		out = append(out, e.Marshal(nil))
	}
	return s, out
}

// fork is a state of its own that is like s.
func fork(b *testing.B, s *fsm.State) *fsm.State {
	var image bytes.Buffer
	_, err := s.Snapshot().WriteTo(&image)
	require.NoError(b, err)
	f, err := fsm.ReadState(&image, testkit.Founding(3))
	require.NoError(b, err)
	return f
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkApply(b *testing.B) {
	first, es := benchEntries(b, 256)
	s := fork(b, first)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n > 0 && n%len(es) == 0 {
			b.StopTimer()
			s = fork(b, first)
			b.StartTimer()
		}
		if r := s.Apply(uint64(n%len(es))+2, 1, es[n%len(es)]); r.Status != fsm.Accepted {
			b.Fatal(r.Err)
		}
		n++
	}
	perSecond(b, n*benchSteps)
}

func BenchmarkEntryMarshal(b *testing.B) {
	_, es := benchEntries(b, 1)
	e, err := fsm.ParseEntry(es[0])
	require.NoError(b, err)
	b.SetBytes(int64(len(es[0])))
	b.ReportAllocs()
	for b.Loop() {
		e.Marshal(nil)
	}
	perSecond(b, b.N*benchSteps)
}

func BenchmarkEntryParse(b *testing.B) {
	_, es := benchEntries(b, 1)
	b.SetBytes(int64(len(es[0])))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fsm.ParseEntry(es[0]); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b, b.N*benchSteps)
}

// The image of a state with a journal of 32,768 steps: what Raft's snapshots
// and restarts cost.
func BenchmarkSnapshot(b *testing.B) {
	s, es := benchEntries(b, 256)
	for i, e := range es {
		require.Equal(b, fsm.Accepted, s.Apply(uint64(i)+2, 1, e).Status)
	}
	var image bytes.Buffer
	_, err := s.Snapshot().WriteTo(&image)
	require.NoError(b, err)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(image.Len()))
		b.ReportAllocs()
		var w bytes.Buffer
		for b.Loop() {
			w.Reset()
			if _, err := s.Snapshot().WriteTo(&w); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N*len(es)*benchSteps)
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(image.Len()))
		b.ReportAllocs()
		f := testkit.Founding(3)
		for b.Loop() {
			if _, err := fsm.ReadState(bytes.NewReader(image.Bytes()), f); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N*len(es)*benchSteps)
	})
}
