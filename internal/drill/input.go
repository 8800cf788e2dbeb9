package drill

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// ReadInput reads a text, one event a line.
func ReadInput(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(bufio.NewReader(f), MaxInput+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > MaxInput:
		return nil, fmt.Errorf("%s is longer than %d bytes: take a part of it", path, MaxInput)
	case len(b) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")), nil
}

// MakeInput makes n events for a daemon, the same for the same seed.
func MakeInput(daemon string, n int, seed uint64) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	var out [][]byte
	add := func(format string, args ...any) { out = append(out, fmt.Appendf(nil, format, args...)) }
	const accounts = 64
	words := make([]string, 500)
	for i := range words {
		words[i] = fmt.Sprintf("w%x", rng.Uint32())
	}
	for i := range n {
		switch daemon {
		case "ledger":
			if i < accounts {
				add("open acct%02d 1000", i)
			} else {
				add("transfer acct%02d acct%02d %d", rng.IntN(accounts), rng.IntN(accounts), rng.IntN(100))
			}
		case "kv":
			switch k := rng.IntN(1000); rng.IntN(8) {
			case 0:
				add("delete key%03d", k)
			case 1:
				add("cas key%03d %d %d", k, rng.IntN(10), rng.IntN(10))
			default:
				add("put key%03d %d", k, rng.IntN(10))
			}
		default:
			var line []byte
			for j := range 2 + rng.IntN(8) {
				if j > 0 {
					line = append(line, ' ')
				}
				line = append(line, words[int(float64(len(words))*rng.Float64()*rng.Float64())]...)
			}
			out = append(out, line)
		}
	}
	return out
}
