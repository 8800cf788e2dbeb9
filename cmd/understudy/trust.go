package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/config"
	"github.com/understudy-ha/understudy/continuity"
	"github.com/understudy-ha/understudy/internal/durable"
	"github.com/understudy-ha/understudy/standby/client"
)

func headCommand(o *options) *cobra.Command {
	var size uint64
	var file string
	c := &cobra.Command{
		Use: "head", Short: "print the line that a later proof starts from",
		Long:    "Head prints the history's size and the hash of its newest link. Keep the line\nwhere the group's machines cannot change it: a later proof shows that the\nhistory from it on is one and the same.",
		Example: "  understudy head --file before.head",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				b, err := cl.Head(ctx, size)
				if err != nil {
					return remote(err)
				}
				return o.save(c.OutOrStdout(), "head", file, b)
			})
		},
	}
	c.Flags().Uint64Var(&size, "size", 0, "of the history at this size (default: now)")
	c.Flags().StringVar(&file, "file", "", "write it to a file")
	return c
}

// save writes to a file or prints. For a machine it says what was written.
func (o *options) save(w io.Writer, what, file string, b []byte) error {
	asJSON, err := o.json()
	switch {
	case err != nil:
		return err
	case !asJSON:
		return save(w, file, b)
	case file == "":
		return writeJSON(w, map[string]string{what: string(b)})
	}
	if err := save(w, file, b); err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"file": file, "bytes": len(b)})
}

// save writes to a file, whole or not at all, or to w. A new file takes the place
// of an old one; a device, as /dev/null, would be lost that way.
func save(w io.Writer, file string, b []byte) error {
	if file == "" {
		_, err := w.Write(b)
		return err
	}
	if st, err := os.Stat(file); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(file, b, 0o600)
	}
	return durable.OS(filepath.Dir(file)).WriteFile(filepath.Base(file), b)
}

func proveCommand(o *options) *cobra.Command {
	var head, file string
	var old uint64
	c := &cobra.Command{
		Use: "prove", Short: "fetch the proof that the history goes on from an older head",
		Example: "  understudy prove --head before.head --file now.proof\n  understudy verify --head before.head --founding founding.bin now.proof",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if (head == "") == (old == 0) {
				return errors.New("from where? Give --head FILE of an older head, or --old SIZE")
			}
			if head != "" {
				n, err := sizeOf(head)
				if err != nil {
					return err
				}
				old = n
			}
			return o.withClient(c, func(ctx context.Context, cl *client.Client) error {
				b, err := cl.Prove(ctx, old)
				if err != nil {
					return remote(err)
				}
				return o.save(c.OutOrStdout(), "proof", file, b)
			})
		},
	}
	c.Flags().StringVar(&head, "head", "", "file with the older head, as printed by understudy head")
	c.Flags().Uint64Var(&old, "old", 0, "size of the older history")
	c.Flags().StringVar(&file, "file", "", "write the proof to a file")
	return c
}

// maxHeadFile bounds a file with a head line, in bytes.
const maxHeadFile = 4 << 10

func readFile(path string, most int64) ([]byte, error) {
	return durable.OS(filepath.Dir(path)).ReadFile(filepath.Base(path), most)
}

// sizeOf reads the size of a head line without knowing the group.
func sizeOf(path string) (uint64, error) {
	b, err := readFile(path, maxHeadFile)
	if err != nil {
		return 0, err
	}
	var kind, group, hash string
	var n uint64
	if _, err := fmt.Sscan(string(b), &kind, &group, &n, &hash); err != nil || kind != "understudy/head@v1" || n == 0 {
		return 0, fmt.Errorf("%s holds no head line: make one with understudy head", path)
	}
	return n, nil
}

func verifyCommand(o *options) *cobra.Command {
	var head, founding, origin string
	c := &cobra.Command{
		Use: "verify PROOF...", Short: "check proofs offline",
		Long:    "Verify needs no group: it checks that the history at the older head is the\nbeginning of the one that the newest proof ends with, that every change of the\nactive between them is signed by a member of the group, and says how many\nmembers vouch for the end. Several proofs are checked one after the other.\nExit code 6 says that something does not hold.",
		Example: "  understudy verify --head before.head --founding founding.bin now.proof",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := verify(head, founding, origin, args)
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), verdictJSON(&v), func(w io.Writer) error {
				fmt.Fprintln(w, v)
				for _, t := range v.Handoffs {
					fmt.Fprintf(w, "  seq %d term %d: %s -> %s (%s)\n", t.Seq, t.Term, cmpOr(t.From, "-"), t.To, t.Reason)
				}
				_, err := fmt.Fprintf(w, "head %d %s\n", v.To, v.Head)
				return err
			})
		},
	}
	c.Flags().StringVar(&head, "head", "", "file with the older head")
	c.Flags().StringVar(&founding, "founding", "founding.bin", "the group's founding record")
	c.Flags().StringVar(&origin, "origin", "", "require the founding record to have this origin, in hex")
	c.MarkFlagRequired("head")
	return c
}

func verify(head, founding, origin string, proofs []string) (continuity.Verdict, error) {
	var none continuity.Verdict
	f, err := config.LoadFounding(founding)
	if err != nil {
		return none, err
	}
	if origin != "" {
		want, err := chain.ParseOrigin(origin)
		if err != nil {
			return none, err
		}
		if want != f.Origin() {
			return none, fmt.Errorf("%w: %s is of the group with origin %s, not %s", continuity.ErrUnverifiable, founding, f.Origin(), want)
		}
	}
	b, err := readFile(head, maxHeadFile)
	if err != nil {
		return none, err
	}
	held, err := continuity.ParseHead(b, f)
	if err != nil {
		return none, fmt.Errorf("%s: %w", head, err)
	}
	var proof []byte
	for _, p := range proofs {
		b, err := readFile(p, client.MaxProof+continuity.MaxBundle)
		if err != nil {
			return none, err
		}
		proof = append(proof, b...)
	}
	return continuity.Verify(proof, held, f)
}

func verdictJSON(v *continuity.Verdict) any {
	type handoff struct {
		Seq    uint64 `json:"seq"`
		Term   uint64 `json:"term"`
		From   string `json:"from,omitempty"`
		To     string `json:"to"`
		Reason string `json:"reason"`
	}
	hs := make([]handoff, 0, len(v.Handoffs))
	for _, t := range v.Handoffs {
		hs = append(hs, handoff{t.Seq, t.Term, t.From, t.To, t.Reason.String()})
	}
	return map[string]any{"from": v.From, "to": v.To, "head": v.Head, "root": v.Root, "term": v.Term,
		"inputs": v.Inputs, "vouching": v.Vouching, "handoffs": hs}
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := strings.TrimPrefix(info.Main.Version, "v")
	if v != "" && v != "(devel)" {
		return v
	}
	v = "devel"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += "-" + s.Value[:12]
		}
	}
	return v
}

func versionCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.print(c.OutOrStdout(), map[string]string{"version": version()}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "understudy", version())
				return err
			})
		},
	}
}
