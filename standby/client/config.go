package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/standby/httpapi/wire"
)

// Config says whom to ask and how.
type Config struct {
	// Members are the base URLs of all members' APIs, for example
	// "http://127.0.0.1:7700". One is enough if it is sure to be up.
	Members []string
	// Producer names the sender of events. Empty: at most once.
	Producer string
	Token    string      // bearer token, if the members want one
	TLS      *tls.Config // nil: the system's authorities
	Logger   *slog.Logger

	// MaxInFlight bounds the events without a receipt: 256 by default, at most
	// 1,024, which is as many as the group keeps receipts for.
	MaxInFlight int
	// MaxInFlightBytes bounds their payloads: 16 MiB by default.
	MaxInFlightBytes int
	// StallTimeout is how long a receipt or an answer may take before another
	// member is asked: 5 s by default.
	StallTimeout time.Duration
}

// maxMembers bounds the members that are probed.
const maxMembers = 64

func (c *Config) complete() error {
	if len(c.Members) == 0 || len(c.Members) > maxMembers {
		return fmt.Errorf("client: %d member addresses: give between 1 and %d", len(c.Members), maxMembers)
	}
	members := make([]string, 0, len(c.Members))
	for _, m := range c.Members {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("client: member address %q: write http://host:port or https://host:port", m)
		}
		members = append(members, strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/"))
	}
	c.Members = members
	if len(c.Producer) > chain.MaxProducer || !utf8.ValidString(c.Producer) {
		return fmt.Errorf("client: producer %.100q: use UTF-8 of at most %d bytes", c.Producer, chain.MaxProducer)
	}
	def(&c.MaxInFlight, 256)
	def(&c.MaxInFlightBytes, 16<<20)
	def(&c.StallTimeout, 5*time.Second)
	if c.MaxInFlight < 1 || c.MaxInFlight > wire.MaxBatch {
		return fmt.Errorf("client: MaxInFlight is %d: use 1 to %d", c.MaxInFlight, wire.MaxBatch)
	}
	if c.MaxInFlightBytes < 1 || c.StallTimeout < 0 {
		return errors.New("client: limits must be positive")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (c *Config) transport() *http.Transport {
	return &http.Transport{
		DialContext:         watch((&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext),
		TLSClientConfig:     c.TLS,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
}
