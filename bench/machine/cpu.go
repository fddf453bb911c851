package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pin binds the calling OS thread to one CPU. The goroutine holds the thread.
func Pin(cpu int) error { return pin(cpu) }

func pin(cpus ...int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin a thread to CPU %s: %w: choose CPUs of this machine", strings.Trim(fmt.Sprint(cpus), "[]"), err)
	}
	return nil
}

// On runs f on one CPU. The thread is what it was before afterwards, and lives on: a
// process that was started to end with its parent ends with the parent's thread that
// started it, which may be this one.
//
//	error: a CPU that the process may not use, and f was not run; else f's own
func On(cpu int, f func() error) error { return among([]int{cpu}, f) }

// among is On with several CPUs.
func among(cpus []int, f func() error) error {
	runtime.LockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("CPUs of a thread: %w", err)
	}
	if err := pin(cpus...); err != nil {
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
// itself. It ends with its parent, a terminal's interrupt does not reach it, and it has a
// session of its own (see Favour).
func Start(cmd *exec.Cmd, cpu int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	return On(cpu, cmd.Start)
}

// StartAmong is Start with several CPUs, for a process that has threads of its own for
// what does not poll.
func StartAmong(cmd *exec.Cmd, cpus ...int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	return among(cpus, cmd.Start)
}

// StartIsolated is Start in a network namespace of its own.
//
//	error: no right to (CAP_SYS_ADMIN)
func StartIsolated(cmd *exec.Cmd, cpu int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true, Cloneflags: syscall.CLONE_NEWNET}
	return On(cpu, cmd.Start)
}

// Nice values: who stops a poller comes before it, and both before all ordinary threads,
// which get about one part in a hundred beside them. Real-time priority would give them
// none, but two systems whose pollers share a CPU could wait for each other for ever then:
// OVS's never sleeps, and what waits for another thread of its CPU by polling is not rare.
const (
	nicePoll  = -19
	niceOther = -20
	niceLess  = -10
)

// Favour gives each thread of a process that is there now a place before all ordinary
// ones, its pollers behind the others. With pid 0 it is the caller's process.
//
// Where the kernel shares CPUs out to sessions first (sched_autogroup_enabled), nice values
// count within a session only, and a process that has one of its own (Start) gets the place
// for that.
//
//	error: no right to (CAP_SYS_NICE)
func Favour(pid int, pollers ...int) error {
	return favour(pid, niceOther, nicePoll, pollers...)
}

// FavourLess gives each thread of a process that is there now, and those that it makes, a place
// before all ordinary ones and behind what Favour favours: a load whose host starts a whole new
// process beside it would else stand still meanwhile.
//
//	error: no right to (CAP_SYS_NICE)
func FavourLess(pid int) error { return favour(pid, niceLess, niceLess) }

// Less runs f on a thread that has the place of FavourLess: a process that f starts has it from its
// first thread on, and those that it starts, too, which may put some of their threads before the
// others then. Without the right to, f runs all the same.
//
//	error: f's
func Less(f func() error) error {
	runtime.LockOSThread()
	// getpriority(2) tells 20 - nice.
	was, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, niceLess) != nil {
		runtime.UnlockOSThread()
		return f()
	}
	err = f()
	if unix.Setpriority(unix.PRIO_PROCESS, 0, 20-was) == nil { // else the thread ends with its goroutine
		runtime.UnlockOSThread()
	}
	return err
}

// favour gives the threads of a process the nice value other, its pollers poll.
func favour(pid, other, poll int, pollers ...int) error {
	if pid == 0 {
		pid = os.Getpid()
	}
	if sid, err := unix.Getsid(pid); err == nil && sid == pid {
		// Without the file there are no such groups, and without the right to the values
		// below cannot be set either.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(other)), 0)
	}
	tids, err := threads(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		nice := other
		if slices.Contains(pollers, tid) {
			nice = poll
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && err != unix.ESRCH {
			return fmt.Errorf("priority of thread %d of process %d: %w", tid, pid, err)
		}
	}
	return nil
}

// RealTime puts the calling thread before all that have no real-time priority, until undo is
// called. It is for one that sleeps again and again. Without the right to it does nothing. The
// goroutine holds the thread.
func RealTime() (undo func()) {
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return func() {}
	}
	now := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if unix.SchedSetAttr(0, &now, 0) != nil {
		return func() {}
	}
	return func() { _ = unix.SchedSetAttr(0, before, 0) } // it was so before
}

// FavourSession gives the session of the caller the place that Favour gives those of
// processes under test, until undo is called: who orders trials, and the commands that it
// runs, would else wait for the pollers. Without the right to or such groups it does nothing.
func FavourSession() (undo func()) {
	const file = "/proc/self/autogroup"
	before := 0
	raw, err := os.ReadFile(file) // "/autogroup-4 nice 0"
	if err != nil {
		return func() {}
	}
	if _, nice, ok := strings.Cut(string(raw), " nice "); ok {
		_, _ = fmt.Sscan(nice, &before) // else it is 0
	}
	set := func(nice int) { _ = os.WriteFile(file, []byte(strconv.Itoa(nice)), 0) }
	set(niceOther)
	return func() { set(before) }
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
