package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// maxFile bounds a configuration file in bytes.
const maxFile = 1 << 20

// Setting is a value and where it came from.
type Setting struct {
	Key, Value string
	From       string // the file's name, a variable, a flag, or "default"
}

// Load reads the configuration in a file, the process's environment and the
// flags that were set, in this order of rising precedence.
func Load(path string, flags *pflag.FlagSet) (*Member, error) {
	return load(path, flags, os.Environ())
}

func load(path string, flags *pflag.FlagSet, environ []string) (*Member, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w: make one with understudy init", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration %s: over %d bytes, which no configuration is: is it the right file?", path, maxFile)
	}
	return parse(path, data, flags, environ)
}

func parse(path string, data []byte, flags *pflag.FlagSet, environ []string) (*Member, error) {
	// Only viper's decoder: viper itself would take names apart at their dots and
	// change their capitals, and a capability has the name that its daemon says.
	decoder, err := viper.NewCodecRegistry().Decoder("yaml")
	if err != nil {
		return nil, err
	}
	file := make(map[string]any)
	if err := decoder.Decode(data, file); err != nil {
		return nil, fmt.Errorf("configuration %s: %w: write each key once, as \"key: value\"", path, err)
	}
	r := &reader{path: path, dir: filepath.Dir(path), file: file, flags: flags, env: make(map[string]string)}
	r.unknownKeys()
	r.readEnv(environ)
	m := r.member()
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return m, nil
}

// reader looks values up and collects what is wrong with them.
type reader struct {
	path  string
	dir   string
	file  map[string]any
	flags *pflag.FlagSet
	env   map[string]string
	used  []Setting
	errs  []error
}

func (r *reader) bad(s Setting, format string, args ...any) {
	where := s.From
	switch {
	case where == r.path:
		where = fmt.Sprintf("%s: key %s", r.path, s.Key)
	case where == "default":
		where = fmt.Sprintf("%s: key %s is not set", r.path, s.Key)
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// unknownKeys refuses what is in the file and means nothing.
func (r *reader) unknownKeys() {
	var known []string
	for _, o := range Options() {
		known = append(known, o.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(r.file)) {
		if !slices.Contains(known, key) {
			r.errs = append(r.errs, fmt.Errorf("%s: key %s is unknown%s", r.path, key, nearest(key, known)))
		}
	}
}

// readEnv takes our variables and refuses unknown ones.
func (r *reader) readEnv(environ []string) {
	var known []string
	for _, o := range Options() {
		known = append(known, o.Env())
	}
	sort.Strings(environ)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix), slices.Contains(others(), name):
		case !slices.Contains(known, name):
			r.errs = append(r.errs, fmt.Errorf("environment variable %s is unknown%s", name, nearest(name, known)))
		default:
			r.env[name] = value
		}
	}
}

const envPrefix = "UNDERSTUDY_"

// nearest suggests the known word that is most like one.
func nearest(word string, known []string) string {
	best, at := "", len(strings.TrimPrefix(word, envPrefix))/2+1
	for _, k := range known {
		if d := distance(word, k); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ": remove it, or see docs/configuration.md for those there are"
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// distance is the number of single-letter edits between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
