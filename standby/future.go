package standby

import (
	"reflect"

	"github.com/hashicorp/raft"
)

// heard is the error of a transfer of leadership. One that is queued when Raft
// ends is left unanswered, and who waits for it would wait for ever, with all that
// it holds: it ends with its Raft, by the channel that Raft sets for some futures.
func (n *node) heard(f raft.Future) error {
	if v := reflect.ValueOf(f); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		end := v.Elem().FieldByName("ShutdownCh")
		if end.CanSet() && end.IsZero() && end.Type() == reflect.TypeFor[chan struct{}]() {
			end.Set(reflect.ValueOf(n.down))
		}
	}
	return f.Error()
}
