// Command batonctl is the operator's command line: the logical network through
// the controller, and one host's dataplane through batond's local socket.
//
// Exit codes: 0 done; 1 failed; 2 the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// version is set by the build (-ldflags -X main.version=...).
var version = "0.1.0"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "batonctl: %s\n", line)
	}
	if u := new(usageError); errors.As(err, &u) {
		return exitUsage
	}
	return exitFailed
}

// usageError marks an error of the command line itself.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }
