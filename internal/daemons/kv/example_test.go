package kv_test

import (
	"fmt"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/daemons/kv"
)

func Example() {
	d := kv.New()
	for _, line := range []string{"put lang Go", "cas lang Go Rust", "cas lang Go C", "delete nothing"} {
		outputs, err := d.Process(chain.Event{Payload: []byte(line)})
		if err != nil {
			fmt.Println("rejected:", err)
			continue
		}
		fmt.Printf("%s\n", outputs[0])
	}
	answer, _ := d.Query([]byte("get lang"))
	fmt.Printf("%s", answer)
	// Output:
	// put lang
	// swapped lang
	// kept lang
	// absent nothing
	// Rust
}
