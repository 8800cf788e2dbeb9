package linear

import (
	"strings"

	"github.com/anishathalye/porcupine"
)

// input is one request, taken apart.
type input struct{ verb, key, old, value string }

func parse(request string) input {
	verb, rest, _ := strings.Cut(request, " ")
	key, rest, _ := strings.Cut(rest, " ")
	in := input{verb: verb, key: key, value: rest}
	if verb == "cas" {
		in.old, in.value, _ = strings.Cut(rest, " ")
	}
	return in
}

// absent is the state of a key that is not there; no value looks like it.
const absent = "\x00"

// model is one key of the kv daemon: keys do not depend on each other.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		at := make(map[string]int)
		var parts [][]porcupine.Operation
		for _, op := range history {
			key := op.Input.(input).key
			i, ok := at[key]
			if !ok {
				i = len(parts)
				at[key], parts = i, append(parts, nil)
			}
			parts[i] = append(parts[i], op)
		}
		return parts
	},
	Init: func() any { return absent },
	Step: func(state, in, out any) (bool, any) {
		answer, next := step(state.(string), in.(input))
		return out == unknown || out == answer, next
	},
	DescribeOperation: func(in, out any) string {
		i := in.(input)
		return strings.TrimSpace(strings.Join([]string{i.verb, i.key, i.old, i.value}, " ")) + " -> " + out.(string)
	},
	DescribeState: func(state any) string {
		if state == absent {
			return "absent"
		}
		return state.(string)
	},
}

// step is what the daemon answers to a request and what the key holds then.
func step(now string, in input) (answer, next string) {
	switch in.verb {
	case "put":
		return "put " + in.key, in.value
	case "delete":
		if now == absent {
			return "absent " + in.key, absent
		}
		return "deleted " + in.key, absent
	case "cas":
		if now != in.old {
			return "kept " + in.key, now
		}
		return "swapped " + in.key, in.value
	}
	if now == absent {
		return "", now
	}
	return now, now
}
