package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Alone reserves the machine for the caller's measurements until done is called, or the
// process ends: two that ran at once would measure each other. It waits for another one to
// end, and calls waits, once, if it has to.
//
//	error: ctx's
func Alone(ctx context.Context, waits func()) (done func(), err error) {
	return alone(ctx, "baton-bench", waits)
}

// alone is Alone by a name: that of an abstract socket, which goes with its process and
// leaves no file.
func alone(ctx context.Context, name string, waits func()) (done func(), err error) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for first := true; ; first = false {
		l, err := net.Listen("unix", "@"+name)
		if err == nil {
			return func() { l.Close() }, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("socket that keeps benchmarks from running at once: %w", err)
		}
		if first {
			waits()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-again.C:
		}
	}
}
