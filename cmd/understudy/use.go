package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
	"github.com/understudy-ha/understudy/standby/client"
)

func deliverCommand(o *options) *cobra.Command {
	var producer, file string
	var quiet bool
	c := &cobra.Command{
		Use: "deliver [EVENT]", Short: "deliver an event, or one for each line of a file",
		Long:    "Deliver sends its argument, or each line of --file or standard input, as an\nevent. With --producer each event is applied exactly once, whatever fails on the\nway: it is sent again until it has its receipt. Without, an event whose outcome\nis not known is not sent again, and the exit code is 4. Lines are sent as they\nare, empty ones too. Events that the daemon rejects are recorded, and the exit\ncode is 5.\n\nThe time-out counts from the last progress.",
		Example: "  understudy deliver --producer till-7 'transfer alice bob 30'\n  understudy deliver --producer import --file events.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var in io.Reader = c.InOrStdin()
			switch {
			case len(args) == 1 && file != "":
				return errors.New("an event and --file: give one of them")
			case len(args) == 1:
				return o.deliver(c, only(args[0]), producer, quiet, true)
			case file != "" && file != "-":
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return o.deliver(c, linesOf(in), producer, quiet, false)
		},
	}
	c.Flags().StringVar(&producer, "producer", "", "name under which the events are numbered")
	c.Flags().StringVarP(&file, "file", "f", "", "file with one event a line; - is standard input, the default without EVENT")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print no receipts, only the sum")
	return c
}

// tally is what became of the events.
type tally struct {
	Committed  uint64 `json:"committed"`
	Rejected   uint64 `json:"rejected"`
	Duplicates uint64 `json:"duplicates"`
	Failed     uint64 `json:"failed"`
	Uncertain  uint64 `json:"uncertain"`
}

// maxEvent bounds a line of input: the greatest limit that a group can have.
const maxEvent = 64 << 20

func (o *options) deliver(c *cobra.Command, in input, producer string, quiet, single bool) error {
	cl, err := o.client(client.Config{Producer: producer, MaxInFlight: 512})
	if err != nil {
		return err
	}
	asJSON, _ := o.json()
	out := bufio.NewWriter(c.OutOrStdout())
	var sum tally
	var first error
	var reason string // of the first event that was rejected
	pending := make(chan *client.Pending, 512)
	printed := make(chan struct{})
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	context.AfterFunc(ctx, func() { cl.Close(ctx) })
	go func() {
		defer close(printed)
		for p := range pending {
			if len(pending) == 0 {
				out.Flush()
			}
			wait, stop := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("no receipt within --timeout %v", o.timeout))
			r, err := p.Wait(wait)
			if err != nil && wait.Err() != nil {
				cancel(context.Cause(wait)) // nothing moves: stop sending, and see what became of it
				if r, err = p.Wait(context.Background()); err != nil && c.Context().Err() == nil {
					err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
				}
			}
			stop()
			e := sum.add(out, &r, err, asJSON, quiet)
			if e != nil && (first == nil || errors.Is(e, standby.ErrUncertain) && !errors.Is(first, standby.ErrUncertain)) {
				first = e // what is not known is told before what did not happen
			}
			if reason == "" && (r.Rejected || r.Refused) {
				reason = r.Reason
			}
		}
	}()
	var sendErr error
	for ev, err := range ahead(ctx, in) {
		if sendErr = err; err != nil {
			break
		}
		p, err := cl.Send(ctx, ev)
		if sendErr = remote(err); err != nil {
			break
		}
		pending <- p
	}
	// Whoever is told to stop does not wait for a group that does not answer.
	stop, done := context.WithTimeout(ctx, o.timeout)
	cl.Close(stop)
	done()
	close(pending)
	<-printed
	if first = remote(first); first == nil && ctx.Err() == nil {
		first = sendErr
	}
	if c.Context().Err() != nil && first == nil {
		first = c.Context().Err()
	}
	if asJSON && (quiet || !single) {
		json.NewEncoder(out).Encode(map[string]any{"sum": sum})
	} else if !single || quiet {
		fmt.Fprintf(out, "%d committed (%d of them rejected by the daemon, %d duplicates), %d failed, %d uncertain\n", sum.Committed, sum.Rejected, sum.Duplicates, sum.Failed, sum.Uncertain)
	}
	printErr := out.Flush()
	switch {
	case refused(first) && sum.Committed > 0 && sum.Uncertain == 0:
		return partError{first, sum.Committed, sum.Failed}
	case first != nil:
		return first
	case printErr != nil:
		return fmt.Errorf("all is recorded, but not all could be printed: %w", printErr)
	case sum.Rejected > 0:
		return rejectedError{sum.Rejected, reason}
	}
	return nil
}

// input is the events to deliver, or why there are no more of them.
type input = iter.Seq2[[]byte, error]

// only is one event, whatever is in it.
func only(event string) input {
	return func(yield func([]byte, error) bool) { yield([]byte(event), nil) }
}

// linesOf is an event for each line.
func linesOf(r io.Reader) input {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := readLine(lines)
			switch {
			case err == nil:
				if !yield(line, nil) {
					return
				}
				continue
			case err != io.EOF:
				yield(nil, err)
			case len(line) > 0:
				yield(line, nil)
			}
			return
		}
	}
}

// ahead has the input read apart, until ctx ends: a terminal or a pipe gives its
// next line when it likes, but the command ends when it has to.
func ahead(ctx context.Context, in input) input {
	type item struct {
		event []byte
		err   error
	}
	return func(yield func([]byte, error) bool) {
		items := make(chan item)
		go func() {
			defer close(items)
			for event, err := range in {
				select {
				case items <- item{event, err}:
				case <-ctx.Done():
					return
				}
			}
		}()
		for {
			select {
			case i, more := <-items:
				if !more || !yield(i.event, i.err) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// readLine reads a line of bounded length, without its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxEvent:
			return nil, fmt.Errorf("a line of the input is longer than %d bytes", maxEvent)
		case err == bufio.ErrBufferFull:
			continue
		}
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
}

// add counts and prints an outcome. It returns the error that decides how the
// command ends.
func (t *tally) add(w io.Writer, r *standby.Receipt, err error, asJSON, quiet bool) error {
	switch {
	case errors.Is(err, standby.ErrUncertain):
		t.Uncertain++
	case err != nil:
		t.Failed++
	default:
		t.Committed++
		if r.Rejected || r.Refused {
			t.Rejected++
		}
		if r.Duplicate {
			t.Duplicates++
		}
	}
	switch {
	case quiet, err != nil && !asJSON:
	case asJSON && err != nil:
		json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
	case asJSON:
		json.NewEncoder(w).Encode(r)
	default:
		fmt.Fprintf(w, "seq %d term %d", r.Seq, r.Term)
		if r.Producer != "" {
			fmt.Fprintf(w, " %s/%d", r.Producer, r.Sequence)
		}
		if r.Rejected || r.Refused {
			fmt.Fprintf(w, " rejected: %s", r.Reason)
		}
		for _, out := range r.OutputData {
			fmt.Fprintf(w, " %q", out)
		}
		fmt.Fprintln(w)
	}
	return err
}

func outputsCommand(o *options) *cobra.Command {
	var from uint64
	var limit int
	var follow, raw bool
	c := &cobra.Command{
		Use: "outputs", Short: "print the group's outputs from a number on",
		Long:    "Outputs prints those that there are, or, with --follow, goes on as they come. The\ntime-out counts from the last one.",
		Example: "  understudy outputs --from 100 --follow",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var cl *client.Client
			var err error
			if follow {
				cl, err = o.follow(c)
			} else {
				cl, err = o.reach(c.Context())
			}
			if err != nil {
				return err
			}
			defer cl.Close(context.WithoutCancel(c.Context()))
			ctx, cancel := context.WithCancelCause(c.Context())
			defer cancel(nil)
			idle := time.AfterFunc(o.timeout, func() { cancel(fmt.Errorf("no output within --timeout %v", o.timeout)) })
			defer idle.Stop()
			if follow {
				idle.Stop()
			}
			asJSON, _ := o.json()
			w := bufio.NewWriter(c.OutOrStdout())
			defer w.Flush() // what came before an error
			if limit <= 0 {
				limit = math.MaxInt
			}
			for out, err := range cl.Outputs(ctx, from, follow) {
				if err != nil {
					if follow && c.Context().Err() != nil {
						return context.Canceled
					}
					return remote(err)
				}
				idle.Stop() // whoever reads what is printed may take long
				err := printOutput(w, &out, asJSON, raw)
				if err == nil && follow {
					err = w.Flush()
				}
				if err != nil {
					return err
				}
				if !follow {
					idle.Reset(o.timeout)
				}
				if limit--; limit == 0 {
					break
				}
			}
			return w.Flush()
		},
	}
	c.Flags().Uint64Var(&from, "from", 1, "number of the first output")
	c.Flags().IntVar(&limit, "limit", 0, "end after so many; 0: no limit")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as outputs come, across failovers")
	c.Flags().BoolVar(&raw, "raw", false, "print only the payloads, one a line")
	return c
}

func printOutput(w io.Writer, out *chain.Output, asJSON, raw bool) (err error) {
	switch {
	case asJSON:
		err = json.NewEncoder(w).Encode(out)
	case raw:
		_, err = fmt.Fprintf(w, "%s\n", out.Payload)
	default:
		_, err = fmt.Fprintf(w, "%d\tseq %d\tterm %d\t%q\n", out.Number, out.Seq, out.Term, out.Payload)
	}
	return err
}

func queryCommand(o *options) *cobra.Command {
	var stale bool
	c := &cobra.Command{
		Use: "query REQUEST", Short: "ask the daemon",
		Long:    "Query asks the active and answers only with what is committed. With --stale any\nmember answers from its own state and says as of which position.",
		Example: "  understudy query 'balance alice'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				a, err := cl.Query(ctx, []byte(args[0]), stale)
				if err != nil {
					return remote(err)
				}
				return o.print(c.OutOrStdout(), a, func(w io.Writer) error {
					if stale {
						fmt.Fprintf(c.ErrOrStderr(), "as of seq %d, from %s\n", a.Seq, a.Member)
					}
					_, err := w.Write(a.Data)
					return err
				})
			})
		},
	}
	c.Flags().BoolVar(&stale, "stale", false, "let any member answer from what it has")
	return c
}
