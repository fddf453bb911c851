package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pin binds the calling OS thread to one CPU. The goroutine holds the thread.
func Pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin a thread to CPU %d: %w: choose CPUs of this machine", cpu, err)
	}
	return nil
}

// On runs f on one CPU. The thread is what it was before afterwards, and lives on: a
// process that was started to end with its parent ends with the parent's thread that
// started it, which may be this one.
//
//	error: a CPU that the process may not use, and f was not run; else f's own
func On(cpu int, f func() error) error {
	runtime.LockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("CPUs of a thread: %w", err)
	}
	if err := Pin(cpu); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err := f()
	if unix.SchedSetaffinity(0, &before) == nil { // else the thread is not to be used for anything else
		runtime.UnlockOSThread()
	}
	return err
}

// Start starts a process that has one CPU, but for threads that it pins elsewhere
// itself, and no real-time priority. It ends with its parent, and a terminal's interrupt
// does not reach it.
func Start(cmd *exec.Cmd, cpu int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return On(cpu, func() error { return ordinary(cmd.Start) })
}

// StartIsolated is Start in a network namespace of its own.
//
//	error: no right to (CAP_SYS_ADMIN)
func StartIsolated(cmd *exec.Cmd, cpu int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Cloneflags: syscall.CLONE_NEWNET}
	return On(cpu, func() error { return ordinary(cmd.Start) })
}

// ordinary runs f on this thread as one without real-time priority, which a process that
// it starts would inherit: with it, a thread that waits for another of its CPU by polling
// waits for ever.
func ordinary(f func() error) error {
	before, err := unix.SchedGetAttr(0, 0)
	if err == nil && before.Policy == fifo {
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr}, 0); err != nil {
			return fmt.Errorf("priority of a thread: %w", err)
		}
		defer unix.SchedSetAttr(0, before, 0)
	}
	return f()
}

// Priorities of Realtime: who stops a poller must come before it.
const (
	PriorityPoll  = 1
	PriorityOther = 2
)

// fifo is SCHED_FIFO (sched.h).
const fifo = 1

// Realtime gives each thread of a process that is there now a place before all
// ordinary ones (SCHED_FIFO): the one named poller PriorityPoll, all others
// PriorityOther. With pid 0 it is the caller's process; poller 0 is nobody.
//
//	error: no right to (CAP_SYS_NICE)
func Realtime(pid, poller int) error { return RealtimeAll(pid, []int{poller}) }

// RealtimeAll is Realtime for a process with several pollers, or none.
func RealtimeAll(pid int, pollers []int) error {
	if pid == 0 {
		pid = os.Getpid()
	}
	tids, err := threads(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		a := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: fifo, Priority: PriorityOther}
		if slices.Contains(pollers, tid) {
			a.Priority = PriorityPoll
		}
		if err := unix.SchedSetAttr(tid, a, 0); err != nil && err != unix.ESRCH {
			return fmt.Errorf("real-time priority for thread %d of process %d: %w", tid, pid, err)
		}
	}
	return nil
}

// threads are the thread ids of a process.
func threads(pid int) (tids []int, err error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// Prefer gives one thread of this machine a place before all ordinary ones, or takes it
// back. The kernel lets such threads have 95 % of each second: who wants no gaps of 50 ms
// takes it back in time.
//
//	error: no right to (CAP_SYS_NICE), no such thread
func Prefer(tid int, on bool) error {
	a := &unix.SchedAttr{Size: unix.SizeofSchedAttr}
	if on {
		a.Policy, a.Priority = fifo, PriorityPoll
	}
	if err := unix.SchedSetAttr(tid, a, 0); err != nil {
		return fmt.Errorf("priority of thread %d: %w", tid, err)
	}
	return nil
}
