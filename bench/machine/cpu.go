package machine

import (
	"fmt"
	"os"
	"strconv"

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
func Realtime(pid, poller int) error {
	if pid == 0 {
		pid = os.Getpid()
	}
	tids, err := threads(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		a := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: fifo, Priority: PriorityOther}
		if tid == poller {
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
