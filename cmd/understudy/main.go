// Understudy runs and operates standby groups: three members of which one is
// active and any other can take over, with nothing lost and evidence for it.
//
//	understudy drill                                 break a throw-away group and see
//	understudy init --group books --daemon ledger \
//	    --members a=host1:7400,b=host2:7400,c=host3:7400
//	understudy run --config a/member.yaml            on each machine
//	understudy status --config a/member.yaml
//
// Exit codes: 0 done; 1 wrong usage or a local error; 2 no member answered, or
// an error there; 3 refused, nothing changed; 4 outcome unknown; 5 done in
// part, or events recorded as rejected; 6 a proof failed; 7 not allowed; 8 a drill found something lost or
// doubled; 10 the group has no active, was late in a drill, or has a timing that is
// too tight; 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	c := newRoot()
	c.SetArgs(args)
	c.SetIn(in)
	c.SetOut(out)
	c.SetErr(errs)
	err := c.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	switch {
	case code == interrupted:
		fmt.Fprintln(errs, "understudy: interrupted")
	case err != nil && !errors.As(err, new(silent)):
		fmt.Fprintln(errs, "understudy:", err)
	}
	return code
}

func newRoot() *cobra.Command {
	o := new(options)
	root := &cobra.Command{
		Use: "understudy", Short: "hot standby groups with proof of continuity",
		Long: "Understudy gives a stateful service standbys that take over in milliseconds,\nwith nothing acknowledged lost, nothing applied twice, and a proof of it.\n\nStart with: understudy drill",
		// Errors are printed once, by run.
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	o.flags(root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: "form", Title: "Form and run:"}, &cobra.Group{ID: "use", Title: "Use:"},
		&cobra.Group{ID: "operate", Title: "Operate:"}, &cobra.Group{ID: "trust", Title: "Trust:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("form", initCommand(o), runCommand(o))
	add("use", deliverCommand(o), outputsCommand(o), queryCommand(o))
	add("operate", statusCommand(o), historyCommand(o), syncCommand(o), switchoverCommand(o), stepDownCommand(o), tuneCommand(o))
	add("trust", headCommand(o), proveCommand(o), verifyCommand(o), drillCommand(o), benchCommand(o))
	root.AddCommand(versionCommand(o), benchMemberCommand(o), benchFloorCommand())
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.RunE = func(*cobra.Command, []string) error {
			return errors.New("for which shell? Give bash, zsh, fish or powershell")
		}
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, c.CommandPath())
	})
	return root
}
