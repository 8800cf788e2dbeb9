package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// program is the command under test.
var program string

var built = flag.String("program", "", "the command to test, instead of building it")

var keep = flag.String("keep", "", "directory for the logs of what failed, with every goroutine's stack")

// patience bounds every wait: far beyond what a loaded machine needs.
const patience = time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case mortalCommand:
			os.Exit(runMortal(os.Args[2:]))
		case burnCommand:
			burn()
		}
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *built != "" {
		var err error
		if program, err = filepath.Abs(*built); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "understudy-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "understudy")
	args := []string{"build", "-o", program}
	if raced {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "../cmd/understudy")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the command: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// slow marks a test that is left out in a hurry, and under the race detector,
// where the quick ones drive the same code.
func slow(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("slow")
	}
}
