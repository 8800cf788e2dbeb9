package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/understudy-ha/understudy/internal/golden"
	"github.com/understudy-ha/understudy/standby"
)

func TestParseEvent(t *testing.T) {
	for in, want := range map[string]standby.Event{
		`{"payload":"x"}`: {Payload: []byte("x")},
		`{"payload":""}`:  {Payload: []byte{}},
		" {\t\"payload\" : \"x\" ,\r\n \"sequence\" : 7 , \"producer\" : \"p\" } ": {Producer: "p", Sequence: 7, Payload: []byte("x")},
		`{"producer":"p","sequence":18446744073709551615,"payload_base64":"AP8="}`: {Producer: "p", Sequence: 1<<64 - 1, Payload: []byte{0, 255}},
		`{"payload":"a\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\ude00€"}`:                 {Payload: []byte("a\"\\/\b\f\n\r\té€😀€")},
		`{"payload":"\u0000"}`: {Payload: []byte{0}},
		`{"pay\u006coad":"x"}`: {Payload: []byte("x")},
	} {
		ev, err := ParseEvent([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, ev, in)
	}
	for _, in := range []string{
		``, `{}`, `[]`, `null`, `"x"`, `{"payload":"x"`, `{"payload":"x"}x`, `{"payload":"x"}{"payload":"y"}`, `{"payload":"x",}`, `{,}`,
		`{"payload":x}`, `{"payload":1}`, `{"payload":null}`, `{'payload':"x"}`, `{"payload" "x"}`, `{"Payload":"x"}`,
		`{"payload":"x","payload":"y"}`, `{"payload":"x","payload_base64":"eA=="}`, `{"producer":"p","producer":"q","payload":"x"}`,
		`{"payload":"x","extra":1}`, `{"sequence":01,"payload":"x"}`, `{"sequence":-1,"payload":"x"}`, `{"sequence":1.0,"payload":"x"}`,
		`{"sequence":1e3,"payload":"x"}`, `{"sequence":"1","payload":"x"}`, `{"sequence":18446744073709551616,"payload":"x"}`,
		`{"payload_base64":"AP8"}`, `{"payload_base64":"AP9="}`, `{"payload_base64":"A-_="}`, "{\"payload_base64\":\"AP\\n8=\"}", `{"payload_base64":"AP8=AP8="}`,
		"{\"payload\":\"a\nb\"}", "{\"payload\":\"\xff\"}", `{"payload":"\ud800"}`, `{"payload":"\udc00\ud800"}`, `{"payload":"\ud800x"}`,
		`{"payload":"\u12"}`, `{"payload":"\u12g4"}`, `{"payload":"\x41"}`, `{"payload":"x\`, `{"payload":"x\"`, `{"payload":"\u`, "\xef\xbb\xbf{\"payload\":\"x\"}",
	} {
		_, err := ParseEvent([]byte(in))
		require.ErrorIs(t, err, ErrEvent, in)
	}
}

// The event shares no memory with its line.
func TestParsedEventIsACopy(t *testing.T) {
	for _, in := range []string{`{"producer":"pp","sequence":1,"payload":"xx"}`, `{"producer":"pp","sequence":1,"payload_base64":"eHg="}`, `{"producer":"pp","sequence":1,"payload":"\u0078x"}`} {
		line := []byte(in)
		ev, err := ParseEvent(line)
		require.NoError(t, err)
		clear(line)
		require.Equal(t, standby.Event{Producer: "pp", Sequence: 1, Payload: []byte("xx")}, ev)
	}
}

// What is accepted means the same to any other reader of JSON, and comes back
// from its own encoding; a line within the limit for its payload suffices.
func FuzzParseEvent(f *testing.F) {
	for _, s := range []string{`{"producer":"p","sequence":1,"payload":"x\n\u00e9\ud83d\ude00"}`, `{"payload_base64":"AP8="}`, `{"payload":"x","payload_base64":""}`, ` { } `} {
		f.Add([]byte(s))
	}
	for line := range bytes.Lines(golden.ReadText(f, "events")) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		line := bytes.Clone(in)
		var ev standby.Event
		var err error
		golden.Bounded(t, len(in), func() { ev, err = ParseEvent(in) })
		require.Equal(t, line, in, "the line was changed")
		if err != nil {
			return
		}
		var v struct {
			Producer string
			Sequence uint64
			Payload  *string
			Base64   []byte `json:"payload_base64"`
		}
		d := json.NewDecoder(bytes.NewReader(in))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&v))
		require.Equal(t, v.Producer, ev.Producer)
		require.Equal(t, v.Sequence, ev.Sequence)
		if v.Payload != nil {
			require.Equal(t, *v.Payload, string(ev.Payload))
		} else {
			require.Equal(t, string(v.Base64), string(ev.Payload))
		}
		out := AppendEvent(nil, &ev)
		require.LessOrEqual(t, len(out), MaxEventLine(len(ev.Payload))+6*len(ev.Producer))
		again, err := ParseEvent(out)
		require.NoError(t, err)
		require.Equal(t, ev, again)
	})
}

func TestMaxEventLine(t *testing.T) {
	long := `{"producer":"` + strings.Repeat(`\u0070`, 64) + `","sequence":18446744073709551615,"payload":"` + strings.Repeat(`\u0041`, 500) + `"}`
	require.LessOrEqual(t, len(long), MaxEventLine(500))
}
