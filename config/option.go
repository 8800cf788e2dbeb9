package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// kind is the form of a value.
type kind int

const (
	text kind = iota
	file      // a path, relative to the configuration file
	address
	duration
	size
	number
	yes // true or false
	names
	table // name to text
)

// Option describes one key.
type Option struct {
	Key     string
	Default string // as it would be written
	Doc     string
	kind    kind
}

// Env is the environment variable that sets the option.
func (o Option) Env() string { return envPrefix + strings.ToUpper(o.Key) }

// Flag is the flag that sets the option, without its dashes.
func (o Option) Flag() string { return strings.ReplaceAll(o.Key, "_", "-") }

// Options lists every key in the order of the documentation.
func Options() []Option {
	return []Option{
		{"group", "", "name of the group; must be that of the founding record", text},
		{"member", "", "name of this member in the founding record", text},
		{"daemon", "", "built-in daemon to run: ledger, kv or wordcount", text},
		{"data_dir", "data", "directory that this member alone writes to", file},
		{"founding", "founding.bin", "the group's founding record", file},
		{"keys_dir", "keys", "directory of this member's private keys", file},
		{"tls_dir", "tls", "directory of the group authority's certificate and this member's", file},
		{"bootstrap", "bootstrap", "mark that allows the first start to found the group; removed by it", file},
		{"listen", "", "address for the other members", address},
		{"peers", "", "addresses of all members, by name", table},
		{"api", "127.0.0.1:7700", "address for clients", address},
		{"apis", "", "addresses for clients of all members, by name; for the commands", table},
		{"api_cert", "", "certificate for clients; without one the API speaks plain HTTP", file},
		{"api_key", "", "private key of api_cert", file},
		{"api_tokens", "", "file of lines \"role token\"; without one nobody has to show a token", file},
		{"insecure", "false", "allow plain HTTP or no tokens beyond loopback", yes},
		{"profile", "lan", "timing of elections: lan, lan-fast or wan", text},
		{"heartbeat", "", "silence after which a standby stands for election; from the profile", duration},
		{"election", "", "how long an election may take; from the profile", duration},
		{"lease", "", "silence of the others after which the active stops; from the profile", duration},
		{"sync_interval", "5s", "time between checkpoints", duration},
		{"sign_interval", "500ms", "shortest time between signed tree heads", duration},
		{"stall_timeout", "2s", "time without progress of disk or daemon before the active steps down", duration},
		{"max_clock_skew", "5s", "how far this member's wall clock may be off from the others' before it is not promoted", duration},
		{"raft_store", "file", "what keeps the Raft log: file or boltdb; the other one's data is migrated at the start", text},
		{"verify_sync", "turns", "which standbys verify a checkpoint by replay: turns, all or off; off is for all members or none", text},
		{"standby_mode", "warm", "warm: restore at each sync; hot: apply each committed event at once", text},
		{"crash_detection", "true", "elect at once when the active's process is seen to be gone", yes},
		{"never_active", "false", "this member is never promoted", yes},
		{"capability_tags", "", "what this machine offers to the daemon", names},
		{"capability_values", "", "what this machine offers to the daemon, with values", table},
		{"outputs_retention_age", "24h", "how long outputs are kept", duration},
		{"outputs_retention_bytes", "1GiB", "how much of the outputs is kept", size},
		{"queue_events", "32768", "events that may be without an answer; then Busy", number},
		{"queue_bytes", "64MiB", "bytes of events that may be without an answer; then Busy", size},
		{"log_level", "info", "debug, info, warn or error", text},
		{"log_format", "text", "text or json", text},
	}
}

// Flags adds a flag for every option.
func Flags(fs *pflag.FlagSet) {
	for _, o := range Options() {
		if o.kind == yes {
			fs.Bool(o.Flag(), o.Default == "true", o.Doc)
		} else {
			fs.String(o.Flag(), o.Default, o.Doc)
		}
	}
}

// others are variables of ours that are not options: the commands' own.
func others() []string {
	return []string{"UNDERSTUDY_CONFIG", "UNDERSTUDY_ADDR", "UNDERSTUDY_TOKEN", "UNDERSTUDY_OUTPUT"}
}
