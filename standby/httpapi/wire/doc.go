// Package wire is the words of the HTTP API, shared by the handler (httpapi),
// the members that forward to each other and the Go client.
//
// An event is one JSON object on one line:
//
//	{"producer":"till-7","sequence":42,"payload":"transfer A B 10"}
//
// with "payload_base64" in place of "payload" for bytes that are not text. Its
// outcome is one line too: a receipt, or a [Problem], which is told from a
// receipt by its "code". Decoding is strict: whatever could be read in two ways
// is an error.
package wire

// Headers that the API sets or reads.
const (
	HeaderSeq       = "X-Understudy-Seq"       // answers to queries: position it is true for
	HeaderTerm      = "X-Understudy-Term"      // answers to queries: term of that position
	HeaderMember    = "X-Understudy-Member"    // answers to queries: who answered
	HeaderNext      = "X-Understudy-Next"      // answers with a proof that goes on: from this size
	HeaderVia       = "X-Understudy-Via"       // every answer: the member that took the call
	HeaderActive    = "X-Understudy-Active"    // every answer: the active that member knows, if any
	HeaderRole      = "X-Understudy-Role"      // between members only: what the caller may do
	HeaderForwarded = "X-Understudy-Forwarded" // between members only: the member that forwards
)

// NDJSON is the content type of a stream of lines.
const NDJSON = "application/x-ndjson"

// Limits of one call.
const (
	MaxBatch      = 1024    // events handed to the group together
	MaxBatchBytes = 4 << 20 // payload bytes handed to the group together
	MaxResultLine = 8 << 20 // an outcome with its outputs
)

// Session is what the group knows of a producer.
type Session struct {
	Last  uint64 `json:"last"`  // its newest number
	Known bool   `json:"known"` // false: new, or forgotten
	// MaxEventBytes is the group's limit for a payload; 0 if not told.
	MaxEventBytes int `json:"max_event_bytes,omitempty"`
}
