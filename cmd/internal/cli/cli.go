package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Version is baton's, of all programs; the build can set it (-ldflags -X).
var Version = "0.1.0"

// Exit codes.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// UsageError marks an error of the command line or the configuration.
type UsageError struct{ Err error }

// Error is the wrapped error's text.
func (u *UsageError) Error() string { return u.Err.Error() }

// Unwrap is the wrapped error.
func (u *UsageError) Unwrap() error { return u.Err }

// Usage makes err a UsageError.
func Usage(err error) error { return &UsageError{err} }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Run executes the command line until it is done or SIGINT or SIGTERM ends its
// context, prints what went wrong, and returns the exit code.
func Run(root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", root.Name(), line)
	}
	if u := new(UsageError); errors.As(err, &u) {
		return ExitUsage
	}
	return ExitFailed
}

// Finish gives the complete tree of commands the manners of all programs: errors
// are printed by Run alone, and what is wrong on the command line is a UsageError.
func Finish(root *cobra.Command) {
	root.Version = Version
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{err} })
	checkArgs(root)
}

// checkArgs makes wrong arguments, of any command, errors of usage.
func checkArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return Usagef("%w (see '%s --help')", err, cmd.CommandPath())
			}
			return nil
		}
	}
	if !c.Runnable() { // a group of commands
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return Usagef("unknown command %q (see '%s --help')", args[0], cmd.CommandPath())
		}
	}
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
}
