// baton-bench measures baton beside other switches. It joins the rooms below bench; what
// is measured and how stands there.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"baton/bench/dut"
	"baton/bench/gen"
	"baton/bench/loopgap"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitThin   = 3
)

const long = `Measures baton beside other switches that this program starts itself, with the same
load for all: cycles a packet of polls that moved packets, Mpps, and the ratios (above 1:
baton is ahead).

It needs two CPUs, best with nothing else to do, root, and huge pages
(scripts/huge-pages 840).

An interrupt, or the end of the terminal, ends what runs and reports what was measured
until then. Of two at once the second waits for the first.

Exit codes: 0 done; 1 not done; 2 bad usage, or something that the machine lacks; 3 done,
but a case has no trial of one of the systems that counts.`

func main() {
	// Children of this program are this program once more.
	dut.RunChild()
	gen.RunChild()
	loopgap.RunChild()
	os.Exit(run(interruptible(), os.Args[1:]))
}

// echo is for how long what follows an interrupt counts as the same one: timeout(1), and others
// that end a process with its group, tell it twice.
const echo = time.Second

// interruptible is a context that the first interrupt ends. A later one kills this process,
// and its children with it.
func interruptible() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, func() {
		fmt.Fprintln(os.Stderr, "baton-bench: interrupted: ending what runs; interrupt again to end at once")
		time.AfterFunc(echo, stop)
	})
	return ctx
}

// run does what args say and returns the exit code.
func run(ctx context.Context, args []string) int {
	code := exitDone
	c := rootCommand(&code)
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	if err == nil {
		return code
	}
	fmt.Fprintln(os.Stderr, "baton-bench:", err)
	var failed failure
	if errors.As(err, &failed) {
		return exitFailed
	}
	fmt.Fprintln(os.Stderr, "baton-bench --help says what it takes, baton-bench list what there is")
	return exitUsage
}

// failure is what went wrong once measuring had begun; all else is usage.
type failure struct{ error }
