package httpapi

import (
	"context"
	"crypto/x509"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby"
)

// Group is what the API needs of a *standby.Group.
type Group interface {
	DeliverBatch(ctx context.Context, evs []standby.Event) []standby.Result
	Query(ctx context.Context, request []byte, stale bool) (standby.Answer, error)
	Outputs(ctx context.Context, from uint64) iter.Seq2[chain.Output, error]
	OutputsNext() uint64
	Sync(ctx context.Context) (standby.SyncResult, error)
	Switchover(ctx context.Context, to string) (standby.SwitchoverResult, error)
	StepDown(ctx context.Context, hold time.Duration) error
	Status() standby.Status
	Watch(ctx context.Context) iter.Seq[standby.Status]
	AwaitActive(ctx context.Context)
	History(ctx context.Context, limit int) ([]standby.Promotion, error)
	Prove(ctx context.Context, old uint64) (bundle []byte, next uint64, err error)
	TreeHead(ctx context.Context) ([]byte, error)
	HeadAt(size uint64) (chain.Head, error)
	Founding() []byte
	Session(ctx context.Context, producer string) (last uint64, known bool, err error)
	Active() (member string, self bool)
	Done() <-chan struct{} // closed once the member has stopped
}

var _ Group = (*standby.Group)(nil)

// Config says what to serve and to whom.
type Config struct {
	Group Group

	// Forward reaches another member's [Peer] handler; the host of a request's
	// URL is the member's name. Nil: calls for the active are not forwarded.
	Forward http.RoundTripper

	// Tokens are the bearer tokens and what each may do. Without any, callers on
	// this machine may do everything and others nothing, unless Insecure is set.
	Tokens map[string]Role

	// Certificate says what the owner of a verified client certificate may do.
	// Nil: certificates give no role.
	Certificate func(*x509.Certificate) Role

	// Insecure accepts plain text from other machines, and, if there are no
	// tokens, lets them do everything.
	Insecure bool

	Logger *slog.Logger // default: discard
	Limits Limits
}

// Limits bound what callers can take up. Zero fields take the defaults.
type Limits struct {
	MaxEventBytes    int           // 1 MiB: a payload; the group's own limit may be lower
	MaxQueryBytes    int           // 1 MiB: a query's body
	MaxStreams       int           // 1,024 streams of events, and as many of outputs and watches, at a time; then busy
	Timeout          time.Duration // 30 s for one call, or one batch of a stream
	OperationTimeout time.Duration // 2 min for sync, switchover and step-down
	IdleTimeout      time.Duration // 10 min for the next event of a stream
	WriteTimeout     time.Duration // 30 s for a reader to take what is written to it
	Heartbeat        time.Duration // 5 s: an empty line on a stream on which nothing happens
}

func (l *Limits) setDefaults() {
	def(&l.MaxEventBytes, 1<<20)
	def(&l.MaxQueryBytes, 1<<20)
	def(&l.MaxStreams, 1024)
	def(&l.Timeout, 30*time.Second)
	def(&l.OperationTimeout, 2*time.Minute)
	def(&l.IdleTimeout, 10*time.Minute)
	def(&l.WriteTimeout, 30*time.Second)
	def(&l.Heartbeat, 5*time.Second)
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
