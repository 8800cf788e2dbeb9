package ledger_test

import (
	"fmt"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/daemons/ledger"
)

func Example() {
	d := ledger.New()
	for _, line := range []string{"open alice 100", "open bob 0", "transfer alice bob 30", "transfer bob alice 31"} {
		outputs, err := d.Process(chain.Event{Payload: []byte(line)})
		if err != nil {
			fmt.Println("rejected:", err)
			continue
		}
		fmt.Printf("%s\n", outputs[0])
	}
	answer, _ := d.Query([]byte("balance bob"))
	fmt.Printf("%s", answer)
	// Output:
	// opened alice 100
	// opened bob 0
	// transferred alice bob 30: 70 30
	// rejected: account bob holds 30, less than 31
	// 30
}
