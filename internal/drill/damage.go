package drill

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// damageable are the stores that heal from the other members.
var damageable = []string{"checkpoints", "outputs", "history"}

// flipByte changes one bit of one file of a stopped member: of a checkpoint,
// the outputs or the history, in turn.
func flipByte(memberDir string, turn int, rng *rand.Rand) (what string, err error) {
	for i := range damageable {
		store := damageable[(turn+i)%len(damageable)]
		files, err := filesIn(filepath.Join(memberDir, "data", store))
		if err != nil {
			return "", err
		}
		if len(files) == 0 {
			continue // a daemon without outputs has none on disk
		}
		path := files[rng.IntN(len(files))]
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		return fmt.Sprintf("byte %d of %s/%s changes", at, store, filepath.Base(path)), os.WriteFile(path, b, 0o600)
	}
	return "", fmt.Errorf("%s holds nothing to damage", memberDir)
}

// filesIn lists the files with a content, in order.
func filesIn(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			out = append(out, path)
		}
		return err
	})
	if os.IsNotExist(err) {
		return nil, nil
	}
	slices.Sort(out)
	return out, err
}
