package machine_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"baton/bench/machine"
)

// While a CPU is vacated, no thread of the caller's may run on it, an old one or a new one,
// and afterwards each may run where it might before.
func TestVacate(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU")
	}
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || !all.IsSet(0) || !all.IsSet(1) {
		t.Skipf("not allowed on CPUs 0 and 1: %v", err)
	}
	dir := t.TempDir()
	moved, undo := machine.Vacate(dir, 0, 1)
	t.Logf("%d threads of the kernel moved", moved)
	release := make(chan struct{})
	for range 4 { // each keeps a thread
		began := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			close(began)
			<-release
		}()
		<-began
	}
	check := func(when string, want func(*unix.CPUSet) bool) {
		list, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			tid, err := strconv.Atoi(e.Name())
			if err != nil {
				t.Fatal(err)
			}
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(tid, &set); err == nil && !want(&set) {
				t.Errorf("%s: thread %d may run on %d CPUs, CPU 0: %v, CPU 1: %v", when, tid, set.Count(), set.IsSet(0), set.IsSet(1))
			}
		}
	}
	check("vacated", func(s *unix.CPUSet) bool { return !s.IsSet(0) && s.Count() > 0 && (s.IsSet(1) == (all.Count() == 2)) })
	if err := machine.On(0, func() error { return nil }); err != nil { // still allowed on purpose
		t.Error(err)
	}
	undo()
	check("undone", func(s *unix.CPUSet) bool { return *s == all })
	close(release)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Who is killed leaves a folder by which the next gives the kernel's threads their CPUs back.
func TestVacate_killed(t *testing.T) {
	if runtime.NumCPU() < 2 || os.Geteuid() != 0 {
		t.Skip("one CPU, or not root")
	}
	done, err := machine.Alone(t.Context(), func() {}) // as who measures
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dir, err := machine.RunDir()
	if err != nil {
		t.Fatal(err)
	}
	where := func() map[int]unix.CPUSet {
		sets := map[int]unix.CPUSet{}
		for _, tid := range machine.KernelThreads() {
			var set unix.CPUSet
			if unix.SchedGetaffinity(tid, &set) == nil {
				sets[tid] = set
			}
		}
		return sets
	}
	before := where()
	moved, undo := machine.Vacate(dir, 0, 1)
	defer undo()
	if moved == 0 {
		t.Skip("the kernel has no thread that may be moved")
	}
	differ := 0
	for tid, set := range where() {
		if was, ok := before[tid]; ok && was != set {
			differ++
		}
	}
	if differ == 0 {
		t.Errorf("%d moved, and all are where they were", moved)
	}
	machine.ClearUp()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for tid, set := range where() {
		if was, ok := before[tid]; ok && was != set {
			t.Errorf("thread %d: may run on %d CPUs, not on %d as before", tid, set.Count(), was.Count())
		}
	}
}
