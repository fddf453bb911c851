package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// cpus is where the process runs.
type cpus struct {
	all unix.CPUSet // that it was started with
	// lcore is the CPU of DPDK's own thread: what DPDK allocates is near it, so that it is near the
	// first worker.
	lcore int
}

// keepOff keeps all threads of the process but the workers', who choose for themselves, off the
// workers' CPUs, if it may use others near the first of those. What serves people and controllers
// and collects garbage would else take turns with a worker while another CPU is idle: the kernel
// likes to wake a thread on the CPU of the one that wakes it. Threads that are made later follow
// those that make them.
//
//	error: the kernel's; some threads may have been moved
func keepOff(s *settings) (c cpus, err error) {
	if err := unix.SchedGetaffinity(0, &c.all); err != nil {
		return c, fmt.Errorf("sched_getaffinity: %w", err)
	}
	workers := s.Workers.CPUs
	c.lcore = workers[0]
	others := c.all
	for _, cpu := range workers {
		others.Clear(cpu)
	}
	near := nearest(&others, nodeOf(workers[0]))
	if !s.Workers.Pin || near < 0 {
		return c, nil
	}
	c.lcore = near
	// Again until nothing is found to be done: a thread that has not been met may make others.
	for left := true; left; {
		if left, err = confine(&others); err != nil {
			return c, fmt.Errorf("workers.cpus: other threads stay on the workers' CPUs: %w", err)
		}
	}
	return c, nil
}

// nearest is a CPU of the set that is on a NUMA node, -1 if there is none.
func nearest(set *unix.CPUSet, node string) int {
	for cpu := range 1024 { // as many as workers.cpus may name
		if set.IsSet(cpu) && nodeOf(cpu) == node {
			return cpu
		}
	}
	return -1
}

// nodeOf is the name of a CPU's NUMA node; empty where the kernel knows of none.
func nodeOf(cpu int) string {
	names, _ := filepath.Glob(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/node[0-9]*", cpu)) // the pattern is right
	if len(names) == 0 {
		return ""
	}
	return filepath.Base(names[0])
}

// confine keeps all threads that there are on a set of CPUs.
//
//	out: whether there were some elsewhere
func confine(to *unix.CPUSet) (some bool, err error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return false, err
		}
		var has unix.CPUSet
		err = unix.SchedGetaffinity(tid, &has)
		if err == nil && has != *to {
			some, err = true, unix.SchedSetaffinity(tid, to)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			return false, err
		}
	}
	return some, nil
}

// among has the calling thread, which its goroutine is bound to, run on some CPUs until what it
// returns is called.
//
//	error: it may not, and stays where it is; of end: it stays among those
func among(some *unix.CPUSet) (end func() error, err error) {
	var was unix.CPUSet
	if err = unix.SchedGetaffinity(0, &was); err == nil {
		err = unix.SchedSetaffinity(0, some)
	}
	return func() error { return unix.SchedSetaffinity(0, &was) }, err
}

// start runs f on a thread that may use all CPUs: a program that f starts may, too.
func (c *cpus) start(f func() error) error {
	runtime.LockOSThread()
	end, err := among(&c.all)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("sched_setaffinity: %w", err)
	}
	err = f()
	if end() == nil { // else the thread ends with its goroutine
		runtime.UnlockOSThread()
	}
	return err
}
