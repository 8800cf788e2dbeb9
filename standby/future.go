package standby

import (
	"reflect"

	"github.com/hashicorp/raft"
)

// heard is a future's error. Raft leaves what is queued unanswered when it ends,
// and who waits for that would wait for ever, with all that it holds: each future
// of this node ends with its Raft, by the channel that Raft sets for some of them.
func (n *node) heard(f raft.Future) error {
	if v := reflect.ValueOf(f); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		end := v.Elem().FieldByName("ShutdownCh")
		if end.CanSet() && end.IsZero() && end.Type() == reflect.TypeFor[chan struct{}]() {
			end.Set(reflect.ValueOf(n.down))
		}
	}
	return f.Error()
}
