package machine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Vacate moves away from cpus what may run elsewhere and has no business there: the caller's
// own threads and the kernel's. One of the latter that looks at the machine's memory twice
// a second (DAMON's) held a poller up for 1.3 ms each time, on whichever CPU it had come to
// rest. Hosts of such pollers keep CPUs for them for the same reason. Where no other CPU is
// left, the last of cpus takes it all.
//
// What the caller starts inherits its CPUs. undo gives each thread those that it had. Which
// threads of the kernel were moved stands in the run's folder until then, for ClearUp,
// should the caller be killed.
//
//	moved: threads of the kernel
func Vacate(runDir string, cpus ...int) (moved int, undo func()) {
	// Go's runtime follows the CPUs of the process, but Latency's two sides wait for each other
	// by polling, each on a CPU that it pins itself to: with one processor of Go's they would
	// take turns of 10 ms. A number that is set stays.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	own := map[int]unix.CPUSet{}
	for more := true; more; { // threads that were started meanwhile
		more = false
		tids, _ := threads(os.Getpid()) // none: those that stay disturb
		for _, tid := range tids {
			if _, known := own[tid]; !known && moveAway(tid, cpus, own) {
				more = true
			}
		}
	}
	file := filepath.Join(runDir, movedFile)
	kernel := moveKernel(file, cpus)
	return len(kernel), func() {
		for tid, set := range kernel {
			_ = unix.SchedSetaffinity(tid, &set) // it may have ended
		}
		_ = os.Remove(file)
		first := own[os.Getpid()]
		tids, _ := threads(os.Getpid())
		for _, tid := range tids {
			set, known := own[tid]
			if !known {
				set = first
			}
			if set.Count() > 0 {
				_ = unix.SchedSetaffinity(tid, &set)
			}
		}
	}
}

// movable is a thread of the kernel in a file.
type movable struct {
	TID  int         `json:"tid"`
	Name string      `json:"name"`
	CPUs unix.CPUSet `json:"cpus"`
}

// moveKernel moves the kernel's threads, once it is written down where they were.
func moveKernel(file string, cpus []int) map[int]unix.CPUSet {
	var all []movable
	for _, tid := range kernelThreads() {
		var set unix.CPUSet
		if unix.SchedGetaffinity(tid, &set) == nil && set.Count() > 1 {
			all = append(all, movable{tid, threadName(tid), set})
		}
	}
	before := map[int]unix.CPUSet{}
	raw, err := json.Marshal(all)
	if err != nil || os.WriteFile(file, raw, 0o600) != nil {
		return before // better disturbed than a machine that stays changed
	}
	for _, m := range all {
		moveAway(m.TID, cpus, before)
	}
	return before
}

// moveBack gives the threads of the kernel that a file of Vacate's names their CPUs back.
// Without the file there is nothing to do.
func moveBack(file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return
	}
	var all []movable
	if json.Unmarshal(raw, &all) != nil {
		return
	}
	there := kernelThreads()
	for _, m := range all {
		if slices.Contains(there, m.TID) && threadName(m.TID) == m.Name {
			_ = unix.SchedSetaffinity(m.TID, &m.CPUs) // most refuse, as they did before
		}
	}
}

// Vacated tells a report's readers of it.
func Vacated(moved int) string {
	return fmt.Sprintf("Kept off these CPUs, or off the first where there is no other: the threads that order the trials, and threads of the kernel that may run anywhere (%d).", moved)
}

// moveAway moves a thread away from cpus and notes in before where it was. Most of the
// kernel's are bound to where they are, and refuse.
func moveAway(tid int, cpus []int, before map[int]unix.CPUSet) bool {
	var set unix.CPUSet
	if unix.SchedGetaffinity(tid, &set) != nil {
		return false
	}
	rest := set
	for i, cpu := range cpus {
		if i < len(cpus)-1 || rest.Count() > 1 {
			rest.Clear(cpu)
		}
	}
	if rest == set || rest.Count() == 0 || unix.SchedSetaffinity(tid, &rest) != nil {
		return false
	}
	before[tid] = set
	return true
}

// kernelThreads are the kernel's threads, which have no address space of their own and
// descend from the one with number 2.
func kernelThreads() (tids []int) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range list {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile("/proc/" + e.Name() + "/stat") // "77 (kdamond.0) S 2 0 ..."
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == "2" {
			tids = append(tids, tid)
		}
	}
	return tids
}
