package wordcount_test

import (
	"fmt"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/daemons/wordcount"
)

func Example() {
	d := wordcount.New()
	for _, line := range []string{"to be or not", "to be"} {
		outputs, err := d.Process(chain.Event{Payload: []byte(line)})
		if err != nil {
			fmt.Println("rejected:", err)
			continue
		}
		fmt.Printf("%s\n", outputs[0])
	}
	answer, _ := d.Query([]byte("top 2"))
	fmt.Printf("%s", answer)
	// Output:
	// 1 4 13
	// 2 6 19
	// 2 be
	// 2 to
}
