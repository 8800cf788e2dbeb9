package config

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func option(key string) Option {
	for _, o := range Options() {
		if o.Key == key {
			return o
		}
	}
	panic("config: no option " + key)
}

// look finds the value of a key and notes where it came from.
func (r *reader) look(key string) Setting {
	o := option(key)
	s := Setting{Key: key, Value: o.Default, From: "default"}
	if r.file[key] != nil {
		s.Value, s.From = r.fileText(o), r.path
	}
	if v, ok := r.env[o.Env()]; ok {
		s.Value, s.From = v, "environment variable "+o.Env()
	}
	if r.flags != nil {
		if f := r.flags.Lookup(o.Flag()); f != nil && f.Changed {
			s.Value, s.From = f.Value.String(), "flag --"+o.Flag()
		}
	}
	r.used = append(r.used, s)
	return s
}

// fileText is the file's value as one would write it on the command line.
func (r *reader) fileText(o Option) string {
	bad := func(want string) string {
		r.bad(Setting{Key: o.Key, From: r.path}, "is %v: write %s", r.file[o.Key], want)
		return o.Default
	}
	if v, ok := entries(r.file[o.Key]); ok {
		if o.kind != table {
			return bad("a single value")
		}
		var out []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if _, deep := entries(v[k]); deep {
				return bad("one value for each name")
			}
			out = append(out, fmt.Sprintf("%s=%v", k, v[k]))
		}
		return strings.Join(out, ",")
	}
	switch v := r.file[o.Key].(type) {
	case string, bool, int, int64, uint64, float64:
		return fmt.Sprint(v)
	case []any:
		if o.kind != names {
			return bad("a single value")
		}
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return strings.Join(out, ",")
	default:
		return bad("a simple value")
	}
}

// entries are those of a map in the file. YAML may have read a name as a number.
func entries(v any) (map[string]any, bool) {
	switch m := v.(type) {
	case map[string]any:
		return m, true
	case map[any]any:
		out := make(map[string]any)
		for k, e := range m {
			out[fmt.Sprint(k)] = e
		}
		return out, true
	}
	return nil, false
}

func (r *reader) text(key string, allowed ...string) string {
	s := r.look(key)
	for _, a := range allowed {
		if s.Value == a {
			return s.Value
		}
	}
	if len(allowed) > 0 {
		r.bad(s, "is %q: use one of %s", s.Value, strings.Join(allowed, ", "))
	}
	return s.Value
}

func (r *reader) required(key string) string {
	s := r.look(key)
	if s.Value == "" {
		r.bad(s, "it needs a value: %s", option(key).Doc)
	}
	return s.Value
}

// path is relative to the configuration file; from a variable or flag it is
// relative to where the command runs.
func (r *reader) pathOf(key string) string {
	s := r.look(key)
	if s.Value == "" || filepath.IsAbs(s.Value) || s.From != r.path && s.From != "default" {
		return s.Value
	}
	return filepath.Join(r.dir, s.Value)
}

func (r *reader) address(key string) string {
	s := r.look(key)
	if s.Value == "" {
		r.bad(s, "it needs a value, host:port: %s", option(key).Doc)
	} else if err := checkAddress(s.Value); err != nil {
		r.bad(s, "%v", err)
	}
	return s.Value
}

func checkAddress(a string) error {
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q is not host:port", a)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: the port must be 0 to 65535", a)
	}
	return nil
}

func (r *reader) duration(key string) time.Duration {
	s := r.look(key)
	if s.Value == "" {
		return 0
	}
	d, err := time.ParseDuration(s.Value)
	switch {
	case err != nil:
		r.bad(s, "%q is not a duration: write a number with a unit, as in 500ms, 5s or 24h", s.Value)
	case d < 5*time.Millisecond || d > 366*24*time.Hour:
		r.bad(s, "%v is out of bounds: use 5ms to 8784h", d)
	}
	return d
}

func (r *reader) size(key string) int64 {
	s := r.look(key)
	digits, scale := s.Value, int64(1)
	for unit, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40} {
		if d, ok := strings.CutSuffix(s.Value, unit); ok {
			digits, scale = d, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 1 || n > (1<<50)/scale {
		r.bad(s, "%q is not a size: write a number of bytes, or with KiB, MiB, GiB or TiB", s.Value)
		return 0
	}
	return n * scale
}

func (r *reader) number(key string, low, high int) int {
	s := r.look(key)
	n, err := strconv.Atoi(s.Value)
	if err != nil || n < low || n > high {
		r.bad(s, "%q is not a number from %d to %d", s.Value, low, high)
	}
	return n
}

func (r *reader) yes(key string) bool {
	s := r.look(key)
	switch s.Value {
	case "true", "false":
	default:
		r.bad(s, "%q: use true or false", s.Value)
	}
	return s.Value == "true"
}

func (r *reader) names(key string) []string {
	s := r.look(key)
	var out []string
	for n := range strings.SplitSeq(s.Value, ",") {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// table reads name=value pairs; check, if not nil, looks at each value.
func (r *reader) table(key string, check func(string) error) map[string]string {
	s := r.look(key)
	out := make(map[string]string)
	add := func(name, value string) {
		if _, twice := out[name]; twice {
			r.bad(s, "%q is there twice: keep one", name)
		}
		if check != nil {
			if err := check(value); err != nil {
				r.bad(s, "%s: %v", name, err)
			}
		}
		out[name] = value
	}
	if m, ok := entries(r.file[key]); ok && s.From == r.path { // as it is: a value may have commas
		for _, name := range slices.Sorted(maps.Keys(m)) {
			add(name, fmt.Sprint(m[name]))
		}
		return out
	}
	for pair := range strings.SplitSeq(s.Value, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			r.bad(s, "%q is not name=value", pair)
			continue
		}
		add(name, value)
	}
	return out
}
