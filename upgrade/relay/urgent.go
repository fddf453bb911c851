package relay

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// urgent calls f on a thread that others of the host give way to, if the process may have one:
// while a port goes over nobody serves it, and each step waits for the one before.
func urgent(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// getpriority(2) tells 20 - nice.
	was, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, mostUrgent) != nil {
		return f()
	}
	defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-was) }() // to be less urgent is always allowed
	return f()
}

const mostUrgent = -20
