package relay

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// mostUrgent is the nice value of an urgent thread.
const mostUrgent = -20

// Urgent binds the calling goroutine to a thread that others of the host give way to, if the
// process may have one, until what it returns is called: while a port goes over nobody serves it,
// and each step waits for the one before.
func Urgent() (end func()) {
	runtime.LockOSThread()
	// getpriority(2) tells 20 - nice.
	was, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, mostUrgent) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-was) // to be less urgent is always allowed
		runtime.UnlockOSThread()
	}
}
