package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// fence is a block of code in a document: its language and its text.
var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// again is in an answer of which the document says that nothing happened and
// that the call is to be repeated: on a slow machine the role may move.
var again = regexp.MustCompile(`"code":"(not_active|busy)"`)

// document FILE: runs each block of sh in a document of the repository and
// compares what it prints with the block after it. JSON must have the same
// fields with values of the same kind; in text … stands for anything.
func document(ts *testscript.TestScript, neg bool, args []string) {
	text, err := os.ReadFile(filepath.Join("..", "..", args[0]))
	ts.Check(err)
	blocks := fence.FindAllSubmatch(text, -1)
	ran := 0
	for i, b := range blocks {
		if string(b[1]) != "sh" {
			continue
		}
		if i+1 == len(blocks) || string(blocks[i+1][1]) == "sh" {
			ts.Fatalf("%s: what does this print?\n%s", args[0], b[2])
		}
		want := string(blocks[i+1][2])
		var got string
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			ts.Check(ts.Exec("bash", "-euo", "pipefail", "-c", string(b[2])))
			got = ts.ReadFile("stdout")
			if retry := again.FindString(got); retry == "" || strings.Contains(want, retry) || time.Now().After(deadline) {
				break
			}
		}
		switch kind := string(blocks[i+1][1]); kind {
		case "json":
			err = sameFields(got, want)
		case "text":
			err = sameText(got, want)
		default:
			err = fmt.Errorf("blocks of %q cannot be compared", kind)
		}
		if err != nil {
			ts.Fatalf("%s: %v\n%s\nprints\n%s\nbut the document says\n%s", args[0], err, b[2], got, want)
		}
		ran++
	}
	if ran == 0 {
		ts.Fatalf("%s has no blocks of sh", args[0])
	}
}

func sameText(got, want string) error {
	lines := strings.Split(strings.ReplaceAll(got, "\r", ""), "\n")
	for i, w := range strings.Split(want, "\n") {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(w), "…", ".+")
		if i >= len(lines) || !regexp.MustCompile("^"+pattern+"$").MatchString(lines[i]) {
			return fmt.Errorf("line %d differs from %q", i+1, w)
		}
	}
	if n := strings.Count(want, "\n") + 1; n != len(lines) {
		return fmt.Errorf("%d lines, want %d", len(lines), n)
	}
	return nil
}

func sameFields(got, want string) error {
	g, err := values(got)
	if err != nil {
		return err
	}
	w, err := values(want)
	if err != nil {
		return err
	}
	if len(g) != len(w) {
		return fmt.Errorf("%d values, want %d", len(g), len(w))
	}
	for i := range g {
		if _, ok := w[i].(float64); ok && g[i] != w[i] { // a status
			return fmt.Errorf("%v, want %v", g[i], w[i])
		}
		if err := alike("", g[i], w[i]); err != nil {
			return fmt.Errorf("value %d: %w", i+1, err)
		}
	}
	return nil
}

func values(s string) (vs []any, err error) {
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	for {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return vs, nil
		} else if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
}

// sometimes are fields that are there only while there is something to tell.
var sometimes = map[string]bool{"notes": true, "phase": true, "phases_ms": true, "from": true}

// alike compares the kinds of values; of codes and truths, the values.
func alike(name string, got, want any) error {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %T, not an object", name, got)
		}
		keys := maps.Clone(g)
		maps.Copy(keys, w)
		for k := range keys {
			_, has := g[k]
			_, wants := w[k]
			switch {
			case has && wants:
				if err := alike(name+"."+k, g[k], w[k]); err != nil {
					return err
				}
			case !sometimes[k] && !(k == "reason" && name == ".members[]"):
				return fmt.Errorf("field %s.%s: there %v, documented %v", name, k, has, wants)
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || (len(g) == 0) != (len(w) == 0) {
			return fmt.Errorf("%s is %v, not a list like %v", name, got, w)
		}
		for i := range g {
			if err := alike(name+"[]", g[i], w[min(i, len(w)-1)]); err != nil {
				return err
			}
		}
	case bool:
		if got != want {
			return fmt.Errorf("%s is %v, not %v", name, got, want)
		}
	default:
		if strings.HasSuffix(name, ".code") && got != want || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			return fmt.Errorf("%s is %v, not like %v", name, got, want)
		}
	}
	return nil
}
